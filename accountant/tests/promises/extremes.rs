//! Valid input at the ends of what a number can be: never less than the truth, and never the end of the program.

mod deep_events;
mod hard_events;
mod large_epsilons;
mod large_noise;
mod large_orders;
