//! What must hold for the guarantee to hold, and what follows if it does not.

use super::statement::short;
use super::{ModelFile, OfNodes, Privacy, Report, Utility};
use crate::data::Dataset;
use crate::distributed::uplink::Trust;
use crate::plan::Unit;
use crate::seed::Origin;

/// A condition of the guarantee, in full sentences.
pub(super) struct Assumption {
    /// What is assumed, or must be known.
    pub(super) text: String,
    /// What follows if it does not hold, or from what must be known.
    pub(super) otherwise: &'static str,
}

/// The assumptions of a report, those about the data last.
pub(super) fn all(
    privacy: &Privacy,
    nodes: Option<&OfNodes>,
    model: &ModelFile,
    data: &Dataset,
    utility: &Utility,
) -> Vec<String> {
    let own = of_run(privacy, nodes, model, utility).into_iter().map(|assumption| assumption.text);
    // The unit of a reading is a record, and its number of records that of one file.
    let other_unit = |note: &&String| privacy.unit == Unit::Client && note.starts_with("the unit of privacy is");
    let of_one_file = |note: &&String| nodes.is_some_and(|nodes| nodes.apart) && **note == data.record_count_note();
    let notes = data.notes().iter().filter(|note| !other_unit(note) && !of_one_file(note)).cloned();
    own.chain(notes).collect()
}

/// The assumptions that a report states, each with its consequence.
pub(super) fn with_consequences(report: &Report) -> Vec<Assumption> {
    let mut own = of_run(&report.privacy, report.nodes.as_ref(), &report.model, &report.utility);
    let of_data = |text: &String| Assumption { text: text.clone(), otherwise: OF_DATA };
    let find = |text: &String| match own.iter().position(|assumption| assumption.text == *text) {
        Some(place) => own.swap_remove(place),
        None => of_data(text),
    };
    report.assumptions.iter().map(find).collect()
}

/// The first assumption of the run, apart from the reading of its data, that its report does not state.
pub(super) fn missing(report: &Report) -> Option<String> {
    let own = of_run(&report.privacy, report.nodes.as_ref(), &report.model, &report.utility);
    own.into_iter().map(|assumption| assumption.text).find(|text| !report.assumptions.contains(text))
}

/// Of what the reading of the data declared or found.
const OF_DATA: &str = "Whatever was found in the data rather than declared is not covered by the guarantee, and a declaration that was made \
                       by looking at the data is not either.";

/// What is assumed apart from the reading of the data.
fn of_run(privacy: &Privacy, nodes: Option<&OfNodes>, model: &ModelFile, utility: &Utility) -> Vec<Assumption> {
    let mut list = if privacy.unit == Unit::Client { of_clients(privacy) } else { of_records(privacy) };
    list.extend(privacy.started_apart.then(|| {
        assume(
            "The run that this one started from was on nodes that released each for itself: every record was at one of them, and what its \
             own statement rests on holds too.",
            "A record at two nodes has cost the sum of both.",
        )
    }));
    list.extend(nodes.into_iter().flat_map(|nodes| of_nodes(nodes, privacy.unit, privacy.key)));
    list.push(of_keys(privacy));
    list.extend(of_clipping(privacy));
    list.push(assume(
        "Noise is Gaussian in floating point; what that leaves open is described in SECURITY.md.",
        "An attacker who sees single bits of released sums may learn more than the epsilon of ideal Gaussian noise allows.",
    ));
    list.extend(of_delta(privacy));
    list.extend(of_model(model, utility));
    list
}

fn assume(text: impl Into<String>, otherwise: &'static str) -> Assumption {
    Assumption { text: text.into(), otherwise }
}

/// What the records are, and what is known of them.
fn of_records(privacy: &Privacy) -> Vec<Assumption> {
    let rate = if privacy.sampling_rate.is_some() { "sampling rate" } else { "number of batches in a pass" };
    vec![
        assume(
            "A person with several records has several units: the guarantee for that person is weaker.",
            "Somebody with k records has the epsilon of a group of k, which grows faster than k times the stated one.",
        ),
        assume(
            format!(
                "The number of records ({}), the expected batch ({}) and the {rate} are public constants.",
                privacy.records,
                short(privacy.expected_batch),
            ),
            "If the number of records is itself a secret, publishing it tells whether a record is there, and the guarantee does not \
             cover that.",
        ),
        of_choices(),
    ]
}

/// What the clients are, and what is known of them.
fn of_clients(privacy: &Privacy) -> Vec<Assumption> {
    vec![
        assume(
            "A client is a node with all its data. Somebody whose data are at several nodes has several units: the guarantee for that \
             person is weaker.",
            "Somebody at k nodes has the epsilon of a group of k, which grows faster than k times the stated one.",
        ),
        assume(
            format!(
                "The number of clients ({}), and how many take part in a round on average, are public constants.",
                privacy.records
            ),
            "If the number of clients is itself a secret, publishing it tells whether a client is there, and the guarantee does not \
             cover that.",
        ),
        of_choices(),
    ]
}

fn of_choices() -> Assumption {
    assume(
        "Hyper-parameters were chosen without looking at the private data, or their choice has a cost that is not counted here.",
        "Every run that was made on the private data to choose them has spent its own epsilon, and the total is larger than stated.",
    )
}

/// What nodes keep to themselves, and whom they trust.
fn of_nodes(nodes: &OfNodes, unit: Unit, key: Origin) -> Vec<Assumption> {
    let Some(setting) = &nodes.setting else {
        return vec![assume(
            "The nodes trust each other, and whoever sees the messages between them is trusted: all have the key, and sums of gradients \
             are moved without noise.",
            "Whoever has the key, or reads the messages, sees what the noise hides.",
        )];
    };
    let mut list = vec![assume(
        "Every record is at one node, and how many each node has is public. Where records were dealt by their labels, that is how the \
         data came to be where they are, and no part of the mechanism.",
        "A record at two nodes costs the sum of both; and a size that depends on private labels tells something about them.",
    )];
    let central = setting.trust == Trust::Central;
    list.push(assume(
        match (central, unit) {
            (true, Unit::Client) => {
                "Memories, momenta and checkpoints stay at their nodes. Messages go without noise to the nodes that add them up, and nowhere \
                 else."
            }
            _ => "Memories, momenta, messages before their noise and checkpoints stay at their nodes.",
        },
        "They were computed from private data without noise: whoever sees them is told more than the epsilon allows.",
    ));
    list.push(match (setting.trust, nodes.transport.as_str(), key) {
        (Trust::Central, ..) => assume(
            "All nodes have the key of all noise, and can take it off: they trust each other, and whoever runs them.",
            "Whoever has the key sees what the noise hides.",
        ),
        (Trust::Local, "mpi", Origin::OperatingSystem) if nodes.apart => assume(
            "Every process drew the key of its own noise, read the records of its own node alone, and told neither to anybody.",
            "Whoever has the key of a node can take off its noise.",
        ),
        (Trust::Local, "mpi", Origin::OperatingSystem) => assume(
            "Every process drew the key of its own noise and told it to nobody; every process was able to read the records of all nodes, and \
             used those of its own.",
            "A process that keeps records of other nodes needs no message to know them.",
        ),
        (Trust::Local, "mpi", Origin::Seed) => assume(
            "All processes were given one seed, from which the noise of every node follows: that nodes trust nobody is what was simulated, \
             and holds without a seed.",
            "Whoever has the seed can take off the noise of every node.",
        ),
        (Trust::Local, ..) => assume(
            "All nodes were in one process, which drew the noise of all: that nodes trust nobody is what was simulated, and holds where \
             each has a process of its own.",
            "Whoever has the key of the process can take off the noise of every node.",
        ),
    });
    list
}

/// That nobody knows what the noise is drawn from: the noise of this run, and of those whose cost is in its epsilon.
fn of_keys(privacy: &Privacy) -> Assumption {
    let text = match (privacy.keys(), privacy.started_from_key) {
        (Origin::OperatingSystem, None) => {
            "The key of sampling and noise came from the operating system; the guarantee holds while nobody knows it. A checkpoint \
             holds it."
        }
        (Origin::OperatingSystem, Some(_)) => {
            "The keys of sampling and noise, of this run and of those it started from, came from the operating system; the guarantee \
             holds while nobody knows any of them. A checkpoint holds that of its run."
        }
        (Origin::Seed, None) => {
            "The key of sampling and noise was derived from a seed given by the user: the guarantee holds only while that seed is \
             secret and no other released model was trained with it."
        }
        (Origin::Seed, Some(_)) => {
            "Of the keys of sampling and noise, of this run and of those it started from, one or more were derived from a seed given \
             by the user: the guarantee holds only while every such seed and every other key is secret, and no other released model \
             was trained with one of the seeds."
        }
    };
    let otherwise = match privacy.keys() {
        Origin::OperatingSystem => "Whoever has the key can subtract the noise: there is no privacy left against them.",
        Origin::Seed => {
            "Whoever guesses the seed can subtract the noise, and of two models with one seed the noise cancels in the difference: \
             there is no privacy left."
        }
    };
    assume(text, otherwise)
}

/// What is done to gradients and to the clip norm.
fn of_clipping(privacy: &Privacy) -> Vec<Assumption> {
    let perturbed = privacy.perturbation.map(|_| {
        assume(
            "The noise on the gradients of single examples does not depend on the data and comes before the clip: an example still \
             has at most the clip norm in a sum, so the cost is that of the same run without it.",
            "If it depended on other records, a record could move the sum by more than the clip norm, and the epsilon would be larger.",
        )
    });
    let adaptive = privacy.last_clip_norm.map(|_| {
        assume(
            "The clip norm follows the noisy number of examples within it. That number is released in every step, and its cost is part \
             of the epsilon: sum and count together have the noise multiplier stated. So the clip norms may be published.",
            "Whoever also publishes the exact number, as the share clipped in metrics.csv, tells more than the epsilon allows.",
        )
    });
    perturbed.into_iter().chain(adaptive).collect()
}

/// That a delta is small for so many records.
fn of_delta(privacy: &Privacy) -> Option<Assumption> {
    let (unit, one_in) = (privacy.unit.name(), 1.0 / privacy.records as f64);
    (privacy.delta.get() * privacy.records as f64 >= 1.0).then(|| {
        assume(
            format!(
                "WARNING: delta is {}, not below 1 / {unit}s = {one_in:.1e}: a mechanism that publishes a {unit} outright could have \
                 this delta.",
                privacy.delta,
            ),
            "The guarantee then excludes less than a reader expects of it, whatever its epsilon.",
        )
    })
}

/// What is published with the guarantee: the model, and how well it does.
fn of_model(model: &ModelFile, utility: &Utility) -> Vec<Assumption> {
    let diverged = (!model.finite).then(|| {
        assume(
            "WARNING: training diverged: parameters of the model are not finite. The privacy is spent all the same.",
            "The model is of no use; another run costs another epsilon.",
        )
    });
    let tested = utility.test_data.as_ref().map(|test_data| {
        let measure = if utility.test_perplexity.is_some() { "perplexity" } else { "accuracy" };
        assume(
            format!("The test {measure} was measured on {test_data} and is not private with respect to those records."),
            "Publishing it tells something about the test records that no epsilon bounds; the training records are not touched.",
        )
    });
    diverged.into_iter().chain(tested).collect()
}
