//! The flags that change noise and clip norm over a run.

use crate::Result;
use crate::plan::{Factors, Schedules};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Privacy")]
pub(super) struct ScheduleArgs {
    /// How the noise multiplier changes over the run: SHARE=FACTOR,... from these shares of the steps on (0=1.2,0.5=0.8), or
    /// FIRST..LAST/COUNT for equal stretches on a line (1.5..0.8/10).
    #[arg(long, value_name = "SCHEDULE")]
    noise_schedule: Option<String>,
    /// How the clip norm changes over the run, in the same form. Costs nothing: the noise is scaled with it.
    #[arg(long, value_name = "SCHEDULE")]
    clip_schedule: Option<String>,
}

impl ScheduleArgs {
    /// # Errors
    /// When a schedule cannot be read.
    pub(super) fn read(&self) -> Result<Schedules> {
        let read = |flag: &str, text: &Option<String>| {
            text.as_ref().map_or_else(|| Ok(Factors::default()), |text| Factors::parse(flag, text))
        };
        Ok(Schedules {
            noise: read("--noise-schedule", &self.noise_schedule)?,
            clip: read("--clip-schedule", &self.clip_schedule)?,
        })
    }
}
