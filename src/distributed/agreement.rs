//! What all processes of a run must have alike, and what node 0 decides for them.

use super::transport::Transport;
use super::wire::Message;
use crate::train::Wish;
use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// Whether all processes have the same of every part, keys among them: of those only a hash is told.
///
/// # Errors
/// When a process has another, naming the part and its node; all processes hear of it, so that nobody waits for one that was refused.
pub(crate) fn same(transport: &mut dyn Transport, parts: &[(&str, &[u8])]) -> Result<()> {
    for (name, part) in parts {
        let own: Message = Sha256::digest(part).to_vec().into();
        let all = transport.collect(vec![Message::clone(&own); transport.hosted().len()])?;
        let other = |all: Vec<Message>| all.iter().position(|theirs| *theirs != own);
        let other = all.map(|all| other(all).map_or_else(Vec::new, |node| node.to_string().into()));
        let other = transport.broadcast(other.map(Message::from))?;
        if !other.is_empty() {
            let node = String::from_utf8_lossy(&other);
            let reason =
                format!("node {node} has another {name} than node 0; start all with the same flags and the same data");
            return Err(Error::Refused { reason });
        }
    }
    Ok(())
}

/// What node 0 wishes, in all processes.
///
/// # Errors
/// That of the transport.
pub(super) fn wish(transport: &mut dyn Transport, own: Wish) -> Result<Wish> {
    let byte = [match own {
        Wish::Continue => 0,
        Wish::Pause => 1,
        Wish::Stop => 2,
    }];
    let first = transport.hosted().contains(&0);
    let said = transport.broadcast(first.then(|| Message::from(byte)))?;
    match *said {
        [0] => Ok(Wish::Continue),
        [1] => {
            // Nobody is more than one pause behind another: of the last two checkpoints all have one in common.
            barrier(transport)?;
            Ok(Wish::Pause)
        }
        [2] => Ok(Wish::Stop),
        _ => Err(Error::value("wish of node 0", format!("{said:?}"), "0, 1 or 2")),
    }
}

/// Waits until all processes have come here.
///
/// # Errors
/// That of the transport.
pub fn barrier(transport: &mut dyn Transport) -> Result<()> {
    transport.collect(vec![Message::from([]); transport.hosted().len()])?;
    from_first(transport, || Ok(()))
}

/// What the process that hosts node 0 makes, in all processes.
///
/// # Errors
/// That of `make`, which is called by that process alone; the others wait until they are ended. And that of the transport.
pub fn from_first<T: Serialize + DeserializeOwned>(
    transport: &mut dyn Transport,
    make: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let unreadable = |error: serde_json::Error| Error::value("message of node 0", error, "what it has made");
    if transport.hosted().contains(&0) {
        let made = make()?;
        let message: Message = serde_json::to_vec(&made).map_err(unreadable)?.into();
        transport.broadcast(Some(message))?;
        return Ok(made);
    }
    serde_json::from_slice(&transport.broadcast(None)?).map_err(unreadable)
}
