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
use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_proto::sys::{AsyncSocket as _, SocketAddr, protocols::NETLINK_ROUTE};
use netlink_proto::{ConnectionHandle, new_connection};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Interface;
use super::link::Message;

/// `RTMGRP_LINK` of include/uapi/linux/rtnetlink.h: the notices of links.
const LINKS: u32 = 1;

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
    handle: ConnectionHandle<Message>,
    notices: UnboundedReceiver<(NetlinkMessage<Message>, SocketAddr)>,
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
        let (mut connection, handle, notices) = new_connection(NETLINK_ROUTE)?;
        connection.socket_mut().socket_mut().bind(&SocketAddr::new(0, LINKS))?;
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
        let mut request = NetlinkMessage::from(Message::List);
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut answers = self.handle.request(request, SocketAddr::new(0, 0)).map_err(io::Error::other)?;
        let mut interfaces = Vec::new();
        let mut torn = false;
        while let Some(answer) = answers.next().await {
            torn |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(Message::Is(interface)) => interfaces.push(interface),
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

    fn note(&mut self, notice: &NetlinkMessage<Message>) {
        if let NetlinkPayload::InnerMessage(Message::Deleted(index)) = &notice.payload {
            self.deleted.insert(*index);
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
