//! macwatch counts every Ethernet frame by the MAC address that sent it, and serves the counts to Prometheus.
//!
//! # The way of a frame
//!
//! ```text
//!            interface::follow (netlink)
//!                     │ which interfaces there are
//!                     ▼
//!  wire ─► capture (a thread per interface, pnet's channel) ─► sources (counter vectors, limits, expiry)
//!                                                                 │ one snapshot
//!  scraper ◄─ web (hyper: routes, limits) ◄─ exporter (families) ◄┘
//!  people  ◄─┘                                  ├─► exposition (text, OpenMetrics)
//!                                               └─► site (HTML, JSON)
//! ```
//! That is the channel engine. With the kernel engine ([`capture::kernel`]) an eBPF program counts each frame in the
//! kernel's receive path, the thread is only woken by the first frame of a new source, and `sources` reads the kernel's
//! tables (`tally` is the seam) whenever a snapshot is taken.
//!
//! # Layers
//!
//! Arrows point one way; `tests/layers.rs` holds them.
//!
//! | module | what it is | knows |
//! |---|---|---|
//! | [`mac`], [`frame`], [`clock`] | addresses, headers, what a super-frame stands for, time | each other; `build` |
//! | [`exposition`] | the text format and OpenMetrics, in pieces | nothing of ours |
//! | [`tally`] | the seam between `sources` and tables that count by themselves | `mac` |
//! | [`sources`] | who sent how much: the hot path and the books | the above; the `prometheus` crate |
//! | [`interface`] | which interfaces exist (netlink), which are watched and why | `mac` |
//! | [`textfile`] | files that others keep: reading them, what is wrong with them, replacing one | nothing of ours |
//! | [`inventory`] | the list that a person keeps: reads it, finds in it, notices changes, writes lines of it | `mac`, `textfile` |
//! | [`leases`] | what DHCP servers and arpwatch keep: addresses, and what they call themselves | `mac`, `textfile` |
//! | [`address`], [`vendor`] | what kind of address one is; whom the IEEE gave its prefix | `mac`, `textfile` |
//! | [`suggest`] | what to call an address that nobody has named | `address`, `mac` |
//! | [`known`] | who is known: the inventory's and our own | `inventory`, `mac`, `sources` |
//! | [`sender`] | a socket that only sends | nothing of ours |
//! | [`state`] | what survives a restart: the memory, its file, when to write it | `mac` |
//! | [`capture`] | opens, reads, binds again; where frames go is its caller's choice; the kernel engine | `mac`, `frame`, `clock`, `interface`, `tally`, `sys` |
//! | [`web`] | the HTTP server, its TLS and its users: the metrics page, the site's resources; and asks one whether it serves; knows which pages scrapers received, not what is on any | `textfile`, `sys` |
//! | [`systemd`] | sockets that it passes on; telling it whether the service is ready and alive | nothing of ours |
//! | [`exporter`] | the main job, put together: the metrics page, the page for people, the API | all of the above |
//! | [`commands`] | the other jobs: `watch`, `interfaces`, `send`, `learn`, `check`, `healthcheck`, `hash-password`; and how each starts and ends | all of the above |
//! | [`cli`], [`config`] | what was typed; what is valid | `config` alone reads `cli`; `commands` hands it on |
//! | [`build`], [`privileges`], [`log`] | what was built; capabilities; the log | nothing of ours |
//! | `sys` | the only unsafe code | nothing of ours |
//!
//! # Threads
//!
//! The main thread runs a tokio runtime for netlink, signals and connections. Each interface has a capture
//! thread that sleeps until frames, or notices of new sources, arrive. What takes time has blocking threads that come and
//! go, one at a time for each: the metrics page, the pages for people, passwords of scrapers and of strangers, each kind of
//! file that is looked at, read or written.
//! Capabilities are dropped before the second thread exists.
//!
//! # What a failure costs
//!
//! | failure | costs |
//! |---|---|
//! | a frame shorter than an Ethernet header | one count (`runt_frames_total`) |
//! | a super-frame that the offload header cannot describe | channel engine: that frame, counted as dropped |
//! | the receive queue is full | channel engine: those frames, counted as dropped; kernel engine: a notice, counted |
//! | the kernel refuses the eBPF program | one line in the log; the channel engine is used |
//! | the kernel's tables refuse a change | that source's room: its frames are untracked, or its slot is lost; an error in the log, once a minute |
//! | they refuse the program a new source | its frames until they take it: untracked; a warning in the log, once a minute |
//! | two interfaces change names with each other | the frames of some milliseconds, in no count |
//! | no room for another source | its row; its frames are counted as untracked |
//! | an interface goes down, or away | that interface: `capture_up 0`; bound again when netlink says so |
//! | a read error of another kind | that interface, until a retry after a pause that doubles |
//! | a capture thread is stuck in the kernel | its interface, also under another name, until it is not; an error in the log |
//! | a capture thread panics | that interface, until a restart: `capture_up 0`, an error in the log |
//! | no descriptor, thread or room for a new interface | that interface: `capture_up 0`, one error in the log; tried again every five seconds |
//! | the netlink socket ends | changes are noticed late; opened again every five seconds |
//! | accept errors | one warning for as long as they last; a pause after each |
//! | clients do not read their answers | beyond 64 MiB of these, and of what each takes besides, the connections that have been at it longest; those of scrapers last |
//! | more connections than there may be | one of the client that has most, idle longest; never a scraper's |
//! | a client floods the server | that client: others have their turns in between |
//! | few descriptors are allowed | the kernel engine, where its tables would leave too few; connections: half of what is free is kept for the work |
//! | all descriptors are taken | connections: one is put by, and whoever is idle longest gives way; never a scraper |
//! | the web configuration or a certificate is broken | its news: what held before holds on, and a metric says so; at the start: exit 1 |
//! | a TLS handshake fails | that connection |
//! | more wrong passwords than can be compared | those requests: 503; right ones that are remembered do not wait |
//! | a scraper's answer breaks off | nothing: it is shown the same new sources at 0 again |
//! | many ask for the page for people or the API | further ones of the same client: 503; scrapers have places of their own |
//! | many ask for the metrics page | further requests of the same client: 503; each client has a place of its own |
//! | rendering fails | that scrape: 500; it is whole before its first byte is sent |
//! | a kept page cannot be unpacked for a client | that connection, before the length that it was told |
//! | the state file is damaged, or of a later version | what it knew: it is set aside, and a metric says so |
//! | a file system hangs | news of the files on it; what a restart would forget |
//! | the state file cannot be read | nothing is written either, until it can be; a metric says so |
//! | the state cannot be written (disk full, read-only) | what a restart would forget; tried again after a pause that doubles |
//! | another macwatch has the state file | the start: exit 1 |
//! | systemd does not listen | one warning; systemd may end what has not said that it is ready or alive |
//! | making a page, listing the interfaces or a thread is stuck, under a watchdog | an error in the log, and no sign of life: systemd starts it anew |
//! | no `CAP_NET_RAW` | the start: exit 1, with the remedy |

pub mod address;
pub mod build;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod exporter;
pub mod exposition;
pub mod frame;
pub mod interface;
pub mod inventory;
pub mod known;
pub mod leases;
pub mod log;
pub mod mac;
pub mod privileges;
pub mod sender;
pub mod sources;
pub mod state;
pub mod suggest;
mod sys;
pub mod systemd;
pub mod tally;
pub mod textfile;
pub mod vendor;
pub mod web;
