//! What systemd hands over, and what it wants to be told: sockets that it opened, whether the service is ready, that
//! it is alive. Other service managers that speak the same protocols do too. No other program is started from here, so
//! what was handed over is not inherited by any.

mod manager;
mod sockets;

pub use manager::Manager;
pub use sockets::{Passed, passed, take};
