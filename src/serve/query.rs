//! Query strings: their pairs, percent-decoded.

/// The values of `key` in a query string, percent-decoded.
pub fn query<'a>(query: Option<&'a str>, key: &'a str) -> impl Iterator<Item = String> + 'a {
    query.unwrap_or_default().split('&').filter_map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name) == key).then(|| decode(value))
    })
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let hex = tail
            .get(..2)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_decoded() {
        let q = Some("a=1&b=x%20y+z&a=%zz&c");
        assert_eq!(query(q, "a").collect::<Vec<_>>(), ["1", "%zz"]);
        assert_eq!(query(q, "b").collect::<Vec<_>>(), ["x y z"]);
        assert_eq!(query(q, "c").collect::<Vec<_>>(), [""]);
        assert_eq!(query(None, "c").count(), 0);
    }
}
