//! Capturing: one thread per watched interface, and the supervisor that keeps them to what netlink says.
//!
//! ```text
//! netlink ─► Supervisor::reconcile ─► Worker (one thread each) ─► Sink
//!                    │                     │
//!                    └──── Status ◄────────┘  ◄─ pages, metrics
//! ```
//! What becomes of the frames is the [`Destination`]'s business: the exporter counts them, `watch` prints
//! them.

pub mod kernel;
mod leaving;
mod missing;
mod roll;
mod socket;
mod status;
mod supervisor;
mod watched;
mod worker;

pub use roll::Roll;
pub use socket::{Direction, Hearing, PacketSocket, SocketPool};
pub use status::{Board, Link, Status};
pub use supervisor::{Destination, Settings, Supervisor};
pub use worker::Sink;
