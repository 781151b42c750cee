//! TCP MD5 signatures (RFC 2385): which key is for whom, what is refused, and the signing of what leaves.

use super::*;
use crate::md5::Md5Keys;
use crate::trace::DropReason;
use crate::wire::ip::IpHeader;
use crate::wire::tcp::{ChecksumMode, Flags};
use crate::wire::{gso, md5, parse};

/// A key, shared by all who sign with it.
pub(super) type Md5Key = Arc<[u8]>;

/// Who looks at a segment's signature.
enum Reader {
    /// Somebody who has this key, or none, for the peer.
    Key(Option<Md5Key>),
    /// TIME-WAIT, which looks at none.
    Anyone,
    Nobody,
}

impl Stack {
    /// Why a segment is not let in (RFC 2385 2.0): its signature is missing, unexpected or wrong. There is no answer.
    #[cold]
    pub(super) fn refuses_signature(
        &mut self,
        from: Option<InterfaceId>,
        tuple: &Tuple,
        (ip, seg): (&IpHeader, &parse::Segment),
        packet: &Packet,
    ) -> Option<DropReason> {
        let hdr = &seg.header;
        let syn = hdr.flags & (Flags::SYN | Flags::ACK | Flags::RST) == Flags::SYN;
        let key = match (self.reader(from, tuple, syn), hdr.options.signature) {
            (Reader::Key(key), _) => key,
            (Reader::Nobody, Some(_)) => return Some(DropReason::NoSocket),
            (Reader::Nobody, None) | (Reader::Anyone, _) => return None,
        };
        match (key, hdr.options.signature) {
            (None, None) => return None,
            (Some(_), None) => self.stats.tcp_md5_not_found += 1,
            (None, Some(_)) => self.stats.tcp_md5_unexpected += 1,
            (Some(key), Some(signature)) => {
                let places = (ip.header_len, seg.data_at, seg.data_at + seg.data_len);
                if md5::digest(packet, (ip.src, ip.dst), places, &key) == signature {
                    return None;
                }
                self.stats.tcp_md5_failure += 1;
            }
        }
        Some(DropReason::BadSignature)
    }

    fn reader(&self, from: Option<InterfaceId>, tuple: &Tuple, syn: bool) -> Reader {
        let name = TupleKey::new(tuple);
        let hash = self.hash.of(name.as_bytes());
        let owner = if let Some(key) = self.find_connection(hash, tuple) {
            Some(key)
        } else if let Some(index) = self.half_open.find(hash, name.as_bytes()) {
            self.half_open.get(index).map(|entry| entry.listener)
        } else if !syn && self.time_waits.find(hash, name.as_bytes()).is_some() {
            return Reader::Anyone;
        } else {
            self.listener_at(tuple.local, from, hash)
        };
        match owner {
            Some(owner) => Reader::Key(self.md5_key(owner, tuple.remote.ip())),
            None => Reader::Nobody,
        }
    }

    /// The key that a socket has for a peer.
    pub(super) fn md5_key(&self, owner: Key, peer: IpAddr) -> Option<Md5Key> {
        self.sockets.get(owner)?.options.md5_key(peer).cloned()
    }

    /// The key for the answer to a segment that no connection holds: the listener's.
    pub(super) fn answer_key(&self, tuple: &Tuple) -> Option<Md5Key> {
        if !self.signs {
            return None;
        }
        let hash = self.hash.of(TupleKey::new(tuple).as_bytes());
        self.md5_key(self.listener_at(tuple.local, None, hash)?, tuple.remote.ip())
    }

    /// Signs a packet, or each segment of a super-segment, and hands it to its interface.
    #[cold]
    pub(super) fn put_signed(
        &mut self,
        link: Link,
        packet: Packet,
        (addresses, key): ((IpAddr, IpAddr), &[u8]),
        out: &mut alloc::vec::Vec<(InterfaceId, Packet)>,
    ) {
        let mode = self.checksum_mode(link);
        for mut segment in gso::segment(packet, ChecksumMode::Partial) {
            md5::sign(&mut segment, addresses, key);
            if mode == ChecksumMode::Complete {
                gso::complete_checksum(&mut segment);
            }
            self.put(link, segment, out);
        }
    }
}

/// A child has the key for its peer alone.
pub(super) fn with_one_key(options: Arc<Options>, peer: IpAddr) -> Arc<Options> {
    if options.md5.is_none() {
        return options;
    }
    let md5 = options.md5_key(peer).map(|key| Arc::new(Md5Keys::only(peer, Arc::clone(key))));
    Arc::new(Options { md5, ..Options::clone(&options) })
}
