//! The words that flags of nodes take.

use crate::distributed::uplink::Trust;
use crate::distributed::{FirstMemory, Start, Variate, Visibility, Width};
use clap::ValueEnum;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident of $of:ty { $($(#[$about:meta])* $variant:ident => $value:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub(super) enum $name {
            $($(#[$about])* $variant,)*
        }

        impl From<$name> for $of {
            fn from(name: $name) -> Self {
                match name {
                    $($name::$variant => $value,)*
                }
            }
        }
    };
}

names! {
    TrustName of Trust {
        /// Nobody: every node adds noise to what leaves it.
        Local => Trust::Local,
        /// Whoever adds up.
        Central => Trust::Central,
    }
}
names! {
    FirstMemoryName of FirstMemory {
        /// Nothing.
        Zero => FirstMemory::Zero,
        /// The first gradients, compressed.
        Compressed => FirstMemory::Compressed,
        /// The first gradients, whole.
        Full => FirstMemory::Full,
    }
}
names! {
    DirectionName of Start {
        /// The mean of all nodes' gradients.
        Mean => Start::Mean,
        /// Each node's own gradient.
        Own => Start::Own,
    }
}
names! {
    VariateName of Variate {
        /// The gradient at the server's point, for which a node is asked once more.
        Gradient => Variate::Gradient,
        /// The mean of the gradients of the local steps.
        Steps => Variate::Steps,
    }
}
names! {
    MemoryName of Visibility {
        /// The message without its noise.
        Hidden => Visibility::Hidden,
        /// The message as it arrives.
        Public => Visibility::Public,
    }
}
names! {
    WidthName of Width {
        /// Four bytes.
        F32 => Width::F32,
        /// Eight bytes.
        F64 => Width::F64,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TransportName {
    /// In this process.
    Local,
    /// In the processes that mpirun has started; needs a build with --features mpi.
    Mpi,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum UnitName {
    /// One record of one node.
    Record,
    /// One node with all its data.
    Client,
    /// Nobody.
    None,
}

/// What is clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Clipped {
    /// The gradient of every example.
    Examples,
    /// What nodes send.
    Messages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum AlgorithmName {
    /// DP-SGD of one machine, its work shared among nodes that trust each other.
    DpSgd,
    /// Clipped gradients, averaged.
    ClipGd,
    /// Clipped differences to memories.
    Clip21,
    /// The same with momentum at nodes and server.
    #[value(name = "clip21-sgd2m")]
    Clip21Sgd2m,
    /// Smoothly normalised differences to memories (alpha-NormEC).
    NormEc,
    /// Clipping with error feedback in one trainer (a study).
    DiceSgd,
    /// Clipped local steps, averaged now and then.
    Celgc,
    /// Local steps, averaged now and then (federated averaging).
    LocalSgd,
    /// Mean gradients, clipped by everybody.
    ParallelClip,
    /// Clipped local steps, corrected by the gradients at their start.
    Episode,
    /// Compressed gradients, averaged.
    Dcgd,
    /// Compressed gradients with error feedback.
    ErrorFeedback,
    /// Compressed differences to memories.
    Ef21,
    /// Local steps, averaged with peers.
    Dsgd,
    /// Gradient tracking; periodical with more than one local step.
    GradientTracking,
    /// Gradient tracking over local steps.
    Kgt,
    /// Local steps with control variates.
    Scaffold,
}

impl AlgorithmName {
    pub(super) fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
    }
}
