//! What is shipped for installing macwatch, put to use as far as a machine without the platform can.

mod compose;
mod container;
mod kubernetes;
mod systemd;
