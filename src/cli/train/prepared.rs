//! What a run is made of, once everything that can be refused has been.

use super::Args;
use super::args::Outline;
use super::course::Course;
use super::place::Place;
use crate::checkpoint::Checkpoint;
use crate::cli::datasets::Datasets;
use crate::cli::flags::Flags;
use crate::cli::nodes::NodesArgs;
use crate::cli::past::Before;
use crate::cli::{clipping, note, optimizer};
use crate::data::{Dataset, Domain, Target};
use crate::distributed::agreement::{from_first, same};
use crate::distributed::uplink::Trust;
use crate::distributed::wire::Message;
use crate::distributed::{Grounds, Rounds, Setting, Shards, Transport};
use crate::evaluate::Evaluation;
use crate::model::Classifier;
use crate::nn::{Parameters, Sequential};
use crate::noise::NoiseRule;
use crate::plan::{Plan, Unit};
use crate::recipe::Recipe;
use crate::report::Utility;
use crate::run::Run;
use crate::seed::{Key, Origin};
use crate::train::Trainer;
use crate::{Error, Result};
use candle_core::DType;

/// What a run is made of.
pub(super) struct Prepared {
    pub(super) before: Before,
    /// What all processes of the run share.
    pub(super) key: Key,
    /// What this process has for itself, where nodes trust nobody.
    own: Key,
    pub(super) data: Datasets,
    pub(super) plan: Plan,
    pub(super) recipe: Recipe,
    pub(super) run: Run,
    pub(super) parameters: Parameters,
    pub(super) nodes: Option<OfNodes>,
    model: Classifier<Sequential>,
    private: bool,
}

/// The nodes of a run, and what each has.
pub(super) struct OfNodes {
    /// How many there are.
    pub(super) count: usize,
    /// Whether they are processes that mpirun has started.
    pub(super) over_mpi: bool,
    /// Whether each process has the records of its own node alone.
    pub(super) apart: bool,
    /// How records were dealt.
    pub(super) partition: String,
    /// The rows of each.
    pub(super) shards: Vec<Vec<usize>>,
    /// What they do, if it is not the steps of one machine.
    pub(super) setting: Option<Setting>,
}

impl Prepared {
    /// Reads what the flags name. `place` is where the run is kept, with the interrupted run to go on with.
    pub(super) fn new(
        args: &Args,
        place: &Place,
        mut transport: Option<&mut (dyn Transport + 'static)>,
    ) -> Result<Self> {
        let checkpoint = place.checkpoint();
        let before = args.past.read(place.leads())?;
        let key = shared(&mut transport, || key(args, &before, checkpoint))?;
        let own = own(args, &key, checkpoint)?;
        let device = args.run(None).device()?;
        let (data, apart) = data(args, &key, transport.as_deref_mut())?;
        let run = args.run(Some(&data.train));
        let relation = args.relation()?;
        let past = shared_value(&mut transport, || before.past(relation, checkpoint.map(Checkpoint::plan)))?;
        let count = transport.as_ref().map(|transport| transport.nodes());
        let Outline { plan, mut recipe, setting } = args.outline(&data.train, data.records(), past, count)?;
        if args.data.is_of_nodes() {
            recipe.data = args.data.name_of_files();
        }
        if let Some(transport) = &mut transport {
            let recipe =
                serde_json::to_vec(&recipe).map_err(|error| Error::value("recipe", error, "finite numbers"))?;
            same(&mut **transport, &[("model, optimiser or augmentation", &recipe)])?;
        }
        let of_nodes = |count| {
            let shards = args.nodes.shards(&data.train, data.files.as_deref(), apart, count, &key)?;
            let (over_mpi, partition) = (args.nodes.over_mpi(), args.nodes.dealt().to_string());
            args.nodes.trust()?;
            Ok::<_, Error>(OfNodes { count, over_mpi, apart, partition, shards, setting })
        };
        let nodes = count.map(of_nodes).transpose()?;
        let parameters = Parameters::new(key.clone(), DType::F32, &device);
        let model = recipe.model.build_for(&data.train.form(), parameters.var_builder())?;
        before.load(&recipe, data.train.schema(), &parameters)?;
        let private = !args.without_privacy();
        Ok(Self { before, key, own, data, plan, recipe, run, parameters, nodes, model, private })
    }

    /// The run at its first step or round.
    pub(super) fn course<'a>(&'a self, transport: Option<&'a mut (dyn Transport + 'static)>) -> Result<Course<'a>> {
        match (&self.nodes, transport) {
            (Some(OfNodes { setting: Some(setting), shards, apart, .. }), Some(transport)) => {
                let grounds = Grounds {
                    shared: &self.key,
                    own: &self.own,
                    data: &self.data.train,
                    shards,
                    apart: *apart,
                    parameters: &self.parameters,
                    physical_batch: self.run.physical_batch,
                };
                let rounds = Rounds::new(&self.plan, setting.clone(), grounds, self.private, transport)?;
                Ok(Course::Rounds(Box::new(rounds)))
            }
            (Some(OfNodes { shards, .. }), Some(transport)) => {
                let shards = Shards::new(transport, shards, self.data.train.len())?;
                Ok(Course::Steps(Box::new(self.trainer()?.among(shards)?)))
            }
            _ => Ok(Course::Steps(Box::new(self.trainer()?))),
        }
    }

    fn trainer(&self) -> Result<Trainer<'_>> {
        let steps = if self.private { self.plan.affordable_steps()? } else { self.plan.draft().steps };
        let optimizer = self.recipe.optimizer.build(steps)?;
        let (plan, run, key) = (&self.plan, &self.run, &self.key);
        let trainer = Trainer::new(plan, run, key, &self.data.train, &self.model, &self.parameters, optimizer)?;
        let trainer = if self.private { trainer } else { trainer.without_privacy() };
        match self.recipe.augmentation {
            Some(augmentation) => trainer.augmented(augmentation),
            None => Ok(trainer),
        }
    }

    /// How the model does on these records as it stands.
    pub(super) fn evaluation(&self, records: &Dataset) -> Result<Evaluation> {
        Evaluation::new(&self.model, records, &self.parameters, self.run.physical_batch)
    }

    /// What the model is good for as it stands.
    pub(super) fn utility(&self) -> Result<Utility> {
        let tested = self.data.test.as_ref().map(|test| self.evaluation(test)).transpose()?;
        Ok(Utility::new(tested.as_ref().zip(self.data.test.as_ref()), self.data.test_origin.clone()))
    }

    fn setting(&self) -> Option<&Setting> {
        self.nodes.as_ref().and_then(|nodes| nodes.setting.as_ref())
    }

    /// Puts what the run found out for itself in the place of flags: the same plan follows whatever later versions have as defaults.
    pub(super) fn resolve(&self, args: &Args, flags: &mut Flags) {
        let Self { plan, recipe, run, data, .. } = self;
        let draft = plan.draft();
        let of_clients = draft.unit == Unit::Client;
        let steps = self.setting().map_or(draft.steps, |setting| match draft.unit {
            Unit::Record => setting.method.rounds_within(u64::from(draft.steps)),
            Unit::Client => draft.steps,
        });
        flags.set("privacy", "epochs", None);
        flags.set("privacy", "steps", Some(steps.to_string()));
        flags.set("privacy", "relation", Some(draft.relation.to_string()));
        if !of_clients {
            flags.set("privacy", "batch-size", Some(draft.expected_batch.to_string()));
            flags.set("privacy", "clip-norm", Some(draft.clip_norm.get().to_string()));
        }
        flags.set("privacy", "noise-multiplier", Some(plan.noise_multiplier().get().to_string()));
        flags.set("privacy", "epsilon", draft.budget.map(|budget| budget.get().to_string()));
        for (key, value) in clipping::resolved(&draft.clipping) {
            flags.set("privacy", key, Some(value));
        }
        if let NoiseRule::Banded { bands } = draft.noise {
            flags.set("privacy", "bands", Some(bands.to_string()));
        }
        if let Domain::Tokens { .. } = data.train.form().domain {
            flags.set("data", "length", Some(data.train.width().to_string()));
        }
        flags.set("run", "physical-batch", Some(run.physical_batch.to_string()));
        flags.set("learning", "model", Some(recipe.model.name().to_string()));
        for (key, value) in optimizer::resolved(&recipe.optimizer) {
            flags.set("learning", key, Some(value));
        }
        flags.set(
            "learning",
            "augmentation",
            recipe.augmentation.map(|augmentation| augmentation.copies().to_string()),
        );
        if let Some(OfNodes { count, setting, .. }) = &self.nodes {
            let trust = setting.as_ref().map_or(Trust::Central, |setting| setting.trust);
            let method = setting.as_ref().map(|setting| &setting.method);
            for (key, value) in args.nodes.resolved(*count, trust, method) {
                flags.set("nodes", key, Some(value));
            }
        } else {
            for key in NodesArgs::ALWAYS {
                flags.set("nodes", key, None);
            }
        }
    }

    /// Says what is about to be trained.
    pub(super) fn announce(&self) -> Result<()> {
        let Self { plan, recipe, .. } = self;
        let data = &self.data.train;
        let what = format!(
            "{}: {} records of shape {:?}, {}; model {}",
            recipe.data,
            self.data.records(),
            data.shape(),
            match data.form().target {
                Target::Class(classes) => format!("{classes} classes"),
                Target::NextToken => "each token to be foretold".into(),
            },
            recipe.model.name(),
        );
        let (batch, noise) = ((plan.mean_batch() * 1e4).round() / 1e4, plan.noise_multiplier().get());
        let steps = plan.affordable_steps()?;
        note(&match (&self.nodes, self.setting()) {
            (Some(OfNodes { count, partition, .. }), Some(Setting { method, .. })) => {
                let gap = method.spectral_gap(*count, &self.key)?;
                let gap = gap.map_or_else(String::new, |gap| format!(", spectral gap {gap:.4}"));
                let noise = if self.private { format!(", noise multiplier {noise:.4}") } else { String::new() };
                let rounds = self.course_length(steps);
                format!("{what}; {} on {count} nodes ({partition}){gap}; {rounds} rounds{noise}", method.name())
            }
            (Some(OfNodes { count, partition, .. }), None) => format!(
                "{what}; {count} nodes ({partition}); {steps} steps of expected batch {batch}, noise multiplier {noise:.4}"
            ),
            (None, _) => format!("{what}; {steps} steps of expected batch {batch}, noise multiplier {noise:.4}"),
        });
        Ok(())
    }

    fn course_length(&self, steps: u32) -> u32 {
        match self.setting().filter(|_| self.private && self.plan.draft().unit == Unit::Record) {
            Some(setting) => setting.method.rounds_within(u64::from(steps)),
            None => steps,
        }
    }
}

/// What files of nodes must have alike.
const READING: &str = "reading of its file (put columns in one order, declare columns, ranges and --classes, and look at each with `dpsgd data \
                       inspect`)";

/// The data of this process, and whether they are those of its own node alone: where each process hosts one node of an algorithm, and
/// each node has a file.
fn data(args: &Args, key: &Key, transport: Option<&mut (dyn Transport + 'static)>) -> Result<(Datasets, bool)> {
    let apart = args.nodes.over_mpi() && args.nodes.has_algorithm() && args.data.is_of_nodes();
    let Some(transport) = transport else { return Ok((args.data.read(key, None)?, false)) };
    if !apart {
        return Ok((args.data.read(key, Some(transport.nodes()))?, false));
    }
    if args.past.shares_a_ledger() {
        let reason = "--ledger is the budget of one owner, and each node has records of its own: the owners' ledgers are not at node 0; leave \
                      it out, and count the run in every ledger yourself";
        return Err(Error::Refused { reason: reason.into() });
    }
    let own = args.data.of_node(transport.hosted().start)?;
    let count = own.train.record_count_note();
    let notes: Vec<&String> = own.train.notes().iter().filter(|note| **note != count).collect();
    let schema = serde_json::to_vec(&(own.train.schema(), notes))
        .map_err(|error| Error::value("schema", error, "finite numbers"))?;
    // Columns, classes and ranges that were found in one file are others in the next.
    same(transport, &[(READING, &schema)])?;
    let size: Message = (own.train.len() as u64).to_le_bytes().into();
    let sizes = transport.collect(vec![size])?;
    let sizes = from_first(transport, || {
        let size = |message: &Message| Some(u64::from_le_bytes((**message).try_into().ok()?) as usize);
        Ok(sizes.map(|sizes| sizes.iter().filter_map(size).collect::<Vec<usize>>()))
    })?;
    Ok((Datasets { files: sizes, ..own }, true))
}

/// The key of the run, as the process of node 0 has it.
fn key(args: &Args, before: &Before, checkpoint: Option<&Checkpoint>) -> Result<Key> {
    match (checkpoint, args.seed.map(|seed| before.key(Key::from_seed(seed)))) {
        (Some(checkpoint), None) => checkpoint.key(),
        (Some(checkpoint), Some(key)) if key == checkpoint.key()? => Ok(key),
        (Some(_), Some(_)) => Err(Error::value("--seed", "another one", "the seed of the run, or none")),
        (None, Some(key)) => Ok(key),
        (None, None) => Ok(before.key(Key::from_os()?)),
    }
}

/// The key of this process alone, where nodes in different processes trust nobody: what its noise is drawn from never leaves it.
fn own(args: &Args, key: &Key, checkpoint: Option<&Checkpoint>) -> Result<Key> {
    let alone = args.nodes.over_mpi() && args.nodes.has_algorithm() && args.nodes.trust()? == Trust::Local;
    // A seed that anybody was given is that of all: the key of node 0 says so.
    if !alone || key.origin() == Origin::Seed {
        return Ok(key.clone());
    }
    match checkpoint.map(Checkpoint::nodes).transpose()?.flatten() {
        Some(nodes) => Ok(nodes.own),
        None => Key::from_os(),
    }
}

fn shared(transport: &mut Option<&mut (dyn Transport + 'static)>, make: impl FnOnce() -> Result<Key>) -> Result<Key> {
    let Some(transport) = transport else { return make() };
    let key = if transport.hosted().contains(&0) { Some(make()?) } else { None };
    // As it is: the number of bytes that are sent is published.
    let message = key.map(|key| [key.secret().as_slice(), &[u8::from(key.origin() == Origin::Seed)]].concat());
    let told = transport.broadcast(message.map(Into::into))?;
    match <[u8; 33]>::try_from(&*told) {
        Ok([bytes @ .., 0]) => Ok(Key::from_parts(bytes, Origin::OperatingSystem)),
        Ok([bytes @ .., 1]) => Ok(Key::from_parts(bytes, Origin::Seed)),
        _ => Err(Error::value("key of node 0", format!("{} bytes", told.len()), "32, and where they come from")),
    }
}

/// What the process of node 0 makes, in all processes.
fn shared_value<T: serde::Serialize + serde::de::DeserializeOwned>(
    transport: &mut Option<&mut (dyn Transport + 'static)>,
    make: impl FnOnce() -> Result<T>,
) -> Result<T> {
    match transport {
        Some(transport) => from_first(&mut **transport, make),
        None => make(),
    }
}
