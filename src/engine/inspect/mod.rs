//! What only the simulator looks at: how much the engine holds, and what a packet tells it of itself.

mod sizes;
mod told;
