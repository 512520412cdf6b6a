//! Which nodes take part in a round.

use crate::seed::{Key, Role};
use crate::{Error, Result};
use dp_accountant::{Event, SamplingRate};

/// Which nodes take part in which round; the others are idle, and send nothing.
///
/// Sums over those who take part are divided by the number of *all* nodes: how many took part is not released, and
/// the sum moves by one message when a node comes or goes.
#[derive(Debug, Clone)]
pub struct Participation {
    who: Who,
}

#[derive(Debug, Clone)]
enum Who {
    Everybody,
    Turns(Vec<Vec<usize>>),
    Coins { rate: SamplingRate, key: Key },
}

impl Participation {
    /// Every node in every round.
    pub fn everybody() -> Self {
        Self { who: Who::Everybody }
    }

    /// In round k the nodes of `turns[k mod turns]`, of `nodes` in all. It depends on no data, and is no protection
    /// either.
    ///
    /// # Errors
    /// When there are no turns, or a node is named that does not exist.
    pub fn turns(turns: Vec<Vec<usize>>, nodes: usize) -> Result<Self> {
        if turns.is_empty() {
            return Err(Error::value("turns of the nodes", 0, "at least 1"));
        }
        match turns.iter().flatten().find(|node| **node >= nodes) {
            None => Ok(Self { who: Who::Turns(turns) }),
            Some(node) => Err(Error::value("node that takes part", node, format!("below {nodes}"))),
        }
    }

    /// Every node with probability `rate` by a coin of its own, fresh for every node and round. The coins follow from
    /// `key`: whoever knows it knows who took part.
    ///
    /// The coin is that of [`crate::sample`]'s Poisson sampler: never above the rate.
    pub fn coins(rate: SamplingRate, key: Key) -> Self {
        Self { who: Who::Coins { rate, key } }
    }

    /// Whether a node takes part in a round.
    pub fn includes(&self, node: usize, round: u32) -> bool {
        match &self.who {
            Who::Everybody => true,
            Who::Turns(turns) => turns[round as usize % turns.len()].contains(&node),
            Who::Coins { rate, key } => {
                crate::sample::coin(*rate, &mut key.derived(&format!("node {node}")).stream(Role::Participation, round))
            }
        }
    }

    /// What a round costs, if its release of the noisy sum alone costs `event` and nobody learns who took part: with
    /// coins, `event` on a Poisson sample of the nodes, under add-remove neighbours. Turns amplify nothing.
    ///
    /// It holds although a node's memory is hidden and depends on its past coins. Let q be the rate, t the radius, s
    /// the noise's standard deviation. Given all sums released so far, and all that the other nodes know and do, the
    /// others add some v, and the node's history h has some law. Its coin of this round is independent of h, and its
    /// message m(h) no longer than t. So with the node and without it the round releases
    ///
    /// ```text
    /// (1 - q) N(v, s^2 I) + q E_h N(v + m(h), s^2 I)     and     N(v, s^2 I).
    /// ```
    ///
    /// These are mixtures over h of pairs of a sampled Gaussian, each of sensitivity at most t. Hockey-stick divergences are
    /// jointly convex, so the pair of sensitivity t dominates in both directions; and pairs that dominate whatever the
    /// past compose adaptively (Zhu, Dong and Wang 2022). Point and estimate are functions of the released sums.
    ///
    /// It does not hold where somebody sees a memory, or single messages, which tell who sent them; where the sum is
    /// divided by how many took part; nor for a node whose data are replaced.
    #[must_use]
    pub fn amplify(&self, event: Event) -> Event {
        match &self.who {
            Who::Coins { rate, .. } => event.poisson_sampled(*rate),
            Who::Everybody | Who::Turns(_) => event,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dp_accountant::NoiseMultiplier;

    fn coins(rate: f64) -> Participation {
        Participation::coins(SamplingRate::new(rate).unwrap(), Key::from_seed(5))
    }

    #[test]
    fn coins_fall_at_their_rate_and_independently_for_nodes_and_rounds() {
        let (rate, rounds) = (0.3, 20_000);
        let coins = coins(rate);
        let share = |took_part: &dyn Fn(u32) -> bool| (0..rounds).filter(|k| took_part(*k)).count() as f64;
        // Five standard errors each: false alarm below 2e-6 for the three together.
        let near = |count: f64, p: f64| {
            (count - p * f64::from(rounds)).abs() < 5.0 * (f64::from(rounds) * p * (1.0 - p)).sqrt()
        };
        assert!(near(share(&|k| coins.includes(0, k)), rate));
        assert!(near(share(&|k| coins.includes(0, k) && coins.includes(1, k)), rate * rate));
        assert!(near(share(&|k| coins.includes(0, k) && coins.includes(0, k + 1)), rate * rate));
        // The control: one coin for all nodes would be seen.
        assert!(!near(share(&|k| coins.includes(0, k) && coins.includes(0, k)), rate * rate));
        assert!((0..100).all(|k| self::coins(1.0).includes(0, k)));
    }

    #[test]
    fn turns_come_round_and_are_checked() {
        let turns = Participation::turns(vec![vec![0], vec![1, 2]], 3).unwrap();
        assert!(turns.includes(0, 0) && !turns.includes(0, 1) && turns.includes(2, 1) && turns.includes(0, 4));
        assert!(Participation::turns(vec![], 3).is_err());
        assert!(Participation::turns(vec![vec![3]], 3).is_err());
    }

    #[test]
    fn coins_alone_amplify() {
        let gaussian = Event::gaussian(NoiseMultiplier::new(2.0).unwrap());
        let turns = Participation::turns(vec![vec![0]], 1).unwrap();
        assert_eq!(turns.amplify(gaussian.clone()), gaussian);
        assert_eq!(Participation::everybody().amplify(gaussian.clone()), gaussian);
        let rate = SamplingRate::new(0.3).unwrap();
        assert_eq!(coins(0.3).amplify(gaussian.clone()), gaussian.poisson_sampled(rate));
    }
}
