//! Where a run is kept, in the process of node 0 and in those that keep a part of it for themselves.

use super::Args;
use crate::checkpoint::Checkpoint;
use crate::distributed::Transport;
use crate::distributed::agreement::{from_first, same};
use crate::report::RunDirectory;
use crate::{Error, Result};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// The directory of this process, if it keeps anything, and the interrupted run in it.
pub(super) struct Place {
    directory: OnceCell<RunDirectory>,
    /// Where the directory is to be, once nothing can be refused any more: in that of node 0, which must not be there after a run that
    /// was refused.
    later: Option<PathBuf>,
    checkpoint: Option<Checkpoint>,
    /// Whether that is not the newest one of this process.
    fell_back: bool,
    leads: bool,
}

impl Place {
    /// Makes or opens the directory. In a run of many processes that of node 0 is `--out`; where every node remembers something of its
    /// own, the others have one below it on their own machine.
    pub(super) fn new(args: &Args, mut transport: Option<&mut (dyn Transport + 'static)>) -> Result<Self> {
        let first = transport.as_ref().map_or(0, |transport| transport.hosted().start);
        if let Some(transport) = transport.as_deref_mut() {
            // Whoever is to resume and whoever is not would wait for each other.
            let flags =
                [args.out.is_some(), args.resume, args.nodes.has_algorithm(), args.seed.is_some()].map(u8::from);
            same(transport, &[("--out, --resume, --seed or --algorithm", &flags)])?;
        }
        let leads = first == 0;
        let Some(out) = &args.out else { return Ok(Self::none(leads)) };
        let path = match (leads, args.nodes.has_algorithm()) {
            (true, _) => Some(out.clone()),
            (false, true) => Some(out.join(format!("node-{first}"))),
            (false, false) => None,
        };
        if !args.resume {
            let mut place = Self::none(leads);
            match path {
                Some(path) if leads => place.directory = RunDirectory::create(&path)?.into(),
                path => place.later = path,
            }
            return Ok(place);
        }
        let (directory, checkpoint) = path.map(|path| RunDirectory::open(&path)).transpose()?.unzip();
        let directory = directory.map_or_else(OnceCell::new, OnceCell::from);
        let mut place = Self { directory, checkpoint, ..Self::none(leads) };
        if let Some(transport) = transport {
            place.agree(out, !args.nodes.has_algorithm(), transport)?;
        }
        Ok(place)
    }

    fn none(leads: bool) -> Self {
        Self { directory: OnceCell::new(), later: None, checkpoint: None, fell_back: false, leads }
    }

    /// Makes the directory, where that was left for later, and lets go of a newest checkpoint that others have not, now that the run goes
    /// on from the one before.
    ///
    /// # Errors
    /// As [`RunDirectory::create`] and [`RunDirectory::fall_back`].
    pub(super) fn make(&self) -> Result<()> {
        if let Some(path) = self.later.as_ref().filter(|_| self.directory.get().is_none()) {
            let directory = RunDirectory::create(path)?;
            self.directory.get_or_init(|| directory);
        }
        match self.directory.get().filter(|_| self.fell_back) {
            Some(directory) => directory.fall_back(),
            None => Ok(()),
        }
    }

    /// Takes up the newest checkpoint that all processes have: one may have been killed before it had the last. Where node 0 alone keeps
    /// one, all get that.
    fn agree(&mut self, out: &Path, one_for_all: bool, transport: &mut (dyn Transport + 'static)) -> Result<()> {
        let step = |checkpoint: &Option<Checkpoint>| checkpoint.as_ref().map_or(u32::MAX, Checkpoint::step);
        let own = step(&self.checkpoint).to_le_bytes();
        let all = transport.collect(vec![own.into(); transport.hosted().len()])?;
        let least =
            all.map(|all| all.iter().filter_map(|step| Some(u32::from_le_bytes((**step).try_into().ok()?))).min());
        let least: u32 = from_first(transport, || Ok(least.flatten().unwrap_or_default()))?;
        if let (Some(directory), true) = (self.directory.get(), step(&self.checkpoint) > least) {
            self.checkpoint = Some(directory.last_checkpoint()?);
            self.fell_back = true;
        }
        if step(&self.checkpoint) != least && self.directory.get().is_some() {
            let reason = "the checkpoints of the nodes are not of one round; the run cannot go on".to_string();
            return Err(Error::Refused { reason });
        }
        if !one_for_all {
            // What a node remembers, and the key of its noise, never leave it.
            return Ok(());
        }
        let bytes = self.checkpoint.as_ref().map(|checkpoint| checkpoint.bytes(out)).transpose()?;
        let told = transport.broadcast(bytes.map(Into::into))?;
        if self.directory.get().is_none() {
            self.checkpoint = Some(Checkpoint::parse(&told, out)?);
        }
        Ok(())
    }

    /// Whether this is the process of node 0, which alone shows and keeps results.
    pub(super) fn leads(&self) -> bool {
        self.leads
    }

    /// The run to go on with.
    pub(super) fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    pub(super) fn directory(&self) -> Option<&RunDirectory> {
        self.directory.get()
    }
}
