//! Following the interfaces by netlink.
//!
//! Notices only wake us: each time the whole list is read anew, so nothing hangs on the order of notices or
//! on none being lost. One thing a list cannot tell, that an interface was deleted and another made under the
//! same name and index in between; so deletions are remembered until they are asked for.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use futures_channel::mpsc::UnboundedReceiver;

use futures_util::{FutureExt, StreamExt};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, Prop};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Interface, Master};
use crate::mac::Mac;

/// Lists are read at most this often, however many notices there are.
const PAUSE: Duration = Duration::from_millis(20);

/// How often a list is begun anew that changed while it was read.
const ATTEMPTS: usize = 20;

/// All interfaces at one time, and what happened since the list before.
#[derive(Debug)]
pub struct Listing {
    /// Those that exist.
    pub interfaces: Vec<Interface>,
    /// Indices that were deleted since the list before.
    pub deleted: HashSet<u32>,
}

/// A netlink socket that hears of every change.
#[derive(Debug)]
pub struct Follower {
    handle: Handle,
    notices: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    connection: JoinHandle<()>,
    deleted: HashSet<u32>,
    /// When the next list may be read.
    rested: Instant,
}

impl Follower {
    /// Opens the socket; changes from now on are heard. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// That of socket(2) or bind(2): `EAFNOSUPPORT` where a sandbox forbids netlink.
    pub fn open() -> io::Result<Self> {
        let (mut connection, handle, notices) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        // Without it a list that was cut short looks like a whole one.
        connection.set_forward_done(true);
        Ok(Self {
            handle,
            notices,
            connection: tokio::spawn(connection),
            deleted: HashSet::new(),
            rested: Instant::now(),
        })
    }

    /// The interfaces that exist now.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, or the socket has ended.
    pub async fn list(&mut self) -> io::Result<Listing> {
        // Notices that wait are older than the list that follows.
        while let Some(Some((notice, _))) = self.notices.next().now_or_never() {
            self.note(&notice);
        }
        for _ in 0..ATTEMPTS {
            self.rested = Instant::now() + PAUSE;
            if let Some(mut interfaces) = self.dump().await? {
                interfaces.sort_by_key(|interface| interface.index);
                return Ok(Listing { interfaces, deleted: std::mem::take(&mut self.deleted) });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(io::Error::other("the interfaces change faster than they can be listed"))
    }

    /// One pass over all interfaces; none if they changed meanwhile, for then some may be missing, and what is
    /// missing would be given up.
    async fn dump(&mut self) -> io::Result<Option<Vec<Interface>>> {
        let mut request = LinkMessage::default();
        // Statistics are the larger part of a link's description, and nobody here reads them.
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(request));
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut answers = self.handle.request(request).map_err(io::Error::other)?;
        let mut interfaces = Vec::new();
        let mut torn = false;
        while let Some(answer) = answers.next().await {
            torn |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    interfaces.extend(read(&link));
                }
                NetlinkPayload::Done(_) => return Ok((!torn).then_some(interfaces)),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
        }
        Err(io::Error::other("the netlink socket ended while the interfaces were listed"))
    }

    /// Waits until something may have changed.
    ///
    /// # Errors
    ///
    /// If the socket has ended: open another.
    pub async fn changed(&mut self) -> io::Result<()> {
        match self.notices.next().await {
            Some((notice, _)) => {
                self.note(&notice);
                tokio::time::sleep_until(self.rested).await;
                Ok(())
            }
            None => Err(io::Error::other("the netlink socket has ended")),
        }
    }

    fn note(&mut self, notice: &NetlinkMessage<RouteNetlinkMessage>) {
        // A port that leaves a bridge is "deleted" too, in the bridge's own family.
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) = &notice.payload
            && link.header.interface_family == AddressFamily::Unspec
        {
            self.deleted.insert(link.header.index);
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The parts of a link message that matter here; none if it has no name.
fn read(message: &LinkMessage) -> Option<Interface> {
    let flags = message.header.flags;
    let mut name = None;
    let mut mac = None;
    let mut master = None;
    let mut kind = String::new();
    let mut other_names = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = Some(value.clone()),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac::new),
            LinkAttribute::PropList(properties) => {
                other_names.extend(properties.iter().filter_map(|property| match property {
                    Prop::AltIfName(name) => Some(name.clone()),
                    _ => None,
                }));
            }
            LinkAttribute::Controller(index) => master = Some(*index),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::PortKind(port) = info {
                        kind = port.to_string();
                    }
                }
            }
            _ => {}
        }
    }
    Some(Interface {
        index: message.header.index,
        name: name?,
        other_names,
        mac,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        hardware: message.header.link_layer_type.into(),
        loopback: flags.contains(LinkFlags::Loopback),
        master: master.map(|index| Master { index, kind }),
    })
}
