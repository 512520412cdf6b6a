//! Training on many nodes: what they say to each other, what it costs in bytes and in privacy, and what they learn.
//!
//! A run has nodes, numbered from 0. A process hosts some of them, next to each other in that order: all of them under
//! [`transport::Local`], one under MPI. Every process goes through the same rounds.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`transport`] | how messages get from node to node: one contract, its members give the same bits |
//! | [`wire`] | numbers as bytes |
//! | [`nodes`] | the nodes of a process, computing side by side |
//! | [`oracle`] | what a node can be asked: gradients of its own objective |
//! | [`objective`] | objectives that are formulas |
//! | [`network`] | models over the records of a node |
//! | [`private_network`] | the same with clipped examples and noise: privacy for records |
//! | [`compress`] | what a node sends in the place of a vector, and the constants proved for it |
//! | [`memory`] | what the server knows of a node's vector, moved by compressed differences |
//! | [`participation`] | which nodes take part in a round |
//! | [`step`] | step sizes, and steps that are never too long |
//! | [`rate`] | the step size for which Clip21's rate is proved |
//! | [`uplink`] | the way from nodes' vectors to their mean |
//! | [`guarantee`] | what a run promises, to whom, and what it costs |
//! | [`topology`] | who talks to whom, and with which weights |
//! | [`gossip`] | one exchange with one's peers |
//! | [`algorithm`] | the contract of the algorithms, which have a file each |
//! | [`method`] | algorithms by their names and constants |
//! | [`rounds`] | a run from its first round to its last |
//! | [`agreement`] | what all processes must have alike |
//! | [`cost`] | what a node has moved, and how long it took |

pub mod agreement;
pub mod algorithm;
pub mod compress;
pub mod cost;
pub mod gossip;
pub mod guarantee;
pub mod memory;
pub mod method;
pub mod network;
pub mod nodes;
pub mod objective;
pub mod oracle;
pub mod participation;
pub mod private_network;
pub mod rate;
pub mod rounds;
pub mod step;
pub mod topology;
pub mod transport;
pub mod uplink;
pub mod vector;
pub mod wire;

mod celgc;
mod clip21;
mod clip_gd;
mod compressed;
mod data_parallel;
mod dice;
mod dsgd;
mod ef21;
mod episode;
mod error_feedback;
mod gradient_tracking;
mod kgt;
mod local_steps;
mod norm_ec;
mod parallel_clip;
mod scaffold;
mod sgd2m;
mod start;

pub use algorithm::Algorithm;
pub use celgc::Celgc;
pub use clip_gd::ClipGd;
pub use clip21::Clip21;
pub use compress::{Compress, Normalised, Radius};
pub use compressed::CompressedDescent;
pub use data_parallel::Shards;
pub use dice::Dice;
pub use dsgd::Dsgd;
pub use ef21::{Ef21, FirstMemory};
pub use episode::Episode;
pub use error_feedback::ErrorFeedback;
pub use gossip::Gossip;
pub use gradient_tracking::GradientTracking;
pub use kgt::Kgt;
pub use memory::Visibility;
pub use method::Method;
pub use network::{Network, point_of, set_point};
pub use nodes::Nodes;
pub use norm_ec::NormEc;
pub use oracle::Oracle;
pub use parallel_clip::ParallelClip;
pub use participation::Participation;
pub use private_network::{PrivateNetwork, RecordNoise};
pub use rounds::{Grounds, Rounds, Setting};
pub use scaffold::{Scaffold, Variate};
pub use sgd2m::Sgd2m;
pub use start::Start;
pub use step::ClippedStep;
pub use topology::{Mixing, Topology};
pub use transport::{Local, Mpi, Transport};
pub use uplink::Uplink;
pub use wire::Width;
