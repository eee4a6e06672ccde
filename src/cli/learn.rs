//! The command line of `learn`.

use std::path::PathBuf;

use clap::Args;

use super::{CaptureArgs, InterfaceArgs};

/// Where the options of `learn` alone stand.
const LEARNING: &str = "Learning";

/// Options of `learn`. Its own have no variables: it is run by hand.
#[derive(Args, Debug)]
pub struct LearnArgs {
    /// Which interfaces.
    #[command(flatten)]
    pub interfaces: InterfaceArgs,
    /// What of them.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// How long to listen; like 10m, 1h or 45s. Default: 10m, and not at all where --from-state or --import is given
    #[arg(long = "for", value_name = "DURATION", help_heading = LEARNING)]
    pub period: Option<String>,
    /// Inventory to write; one that exists gets the addresses that it does not cover yet, below what is in it.
    /// Default: stdout
    #[arg(long, short = 'o', value_name = "FILE", help_heading = LEARNING)]
    pub output: Option<PathBuf>,
    /// Learn from the state file of an exporter, which may be running. Of its interfaces, --interface selects
    #[arg(long, value_name = "FILE", help_heading = LEARNING)]
    pub from_state: Option<PathBuf>,
    /// Learn addresses and names from leases of dnsmasq, ISC dhcpd or Kea, or from arpwatch's arp.dat; repeatable
    #[arg(long, value_name = "FILE", help_heading = LEARNING)]
    pub import: Vec<PathBuf>,
    /// Most addresses learnt per interface; further ones are counted
    #[arg(
        long = "sources.max",
        value_name = "N",
        default_value = "16384",
        value_parser = clap::value_parser!(u32).range(1..=65_536),
        allow_negative_numbers = true,
        help_heading = LEARNING
    )]
    pub most: u32,
    /// Most addresses learnt on all interfaces together
    #[arg(
        long = "sources.max-total",
        value_name = "N",
        default_value = "65536",
        value_parser = clap::value_parser!(u32).range(1..=65_536),
        allow_negative_numbers = true,
        help_heading = LEARNING
    )]
    pub most_total: u32,
}
