//! Where a listener listens: one address, or several.

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use std::fmt;
use std::net::SocketAddr;

/// At least one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(SocketAddr, Vec<SocketAddr>);

impl From<SocketAddr> for Addresses {
    fn from(address: SocketAddr) -> Self {
        Self(address, Vec::new())
    }
}

impl Addresses {
    /// All of a list; none if it is empty.
    pub fn new(all: &[SocketAddr]) -> Option<Self> {
        all.split_first().map(|(first, rest)| Self(*first, rest.to_vec()))
    }

    /// The first, which is the one that is shown where one is enough.
    pub fn first(&self) -> SocketAddr {
        self.0
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.0).chain(self.1.iter().copied())
    }
}

impl<'de> serde::Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OneOrMore)
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Addresses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IP:PORT, such as 127.0.0.1:9177, or a list of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Addresses, E> {
        text.parse().map(|first: SocketAddr| first.into()).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
        let mut all: Vec<SocketAddr> = Vec::new();
        while let Some(address) = list.next_element()? {
            all.push(address);
        }
        Addresses::new(&all).ok_or_else(|| A::Error::invalid_length(0, &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_and_a_list_are_read_and_an_empty_list_is_not() {
        let read = |text: &str| serde_yaml::from_str::<Addresses>(text).map_err(|e| e.to_string());
        let (a, b) = ("127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap());
        assert_eq!(read("127.0.0.1:1").unwrap(), Addresses::from(a));
        assert_eq!(read("['127.0.0.1:1', '[::1]:2']").unwrap().iter().collect::<Vec<_>>(), [a, b]);
        for wrong in ["[]", "here", "1", "[here]", "{a: 1}"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
