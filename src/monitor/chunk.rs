//! Points of one series, packed: even times cost nothing, decimal numbers one or two bytes, a value that stays the same nothing.

use crate::promql::{Point, Window};

/// Decimal places that are looked for: the kernel gives at most nine (nanoseconds).
const PLACES_MAX: u8 = 9;
/// Whole numbers up to here have a float of their own.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Points in the order of time, at least one.
#[derive(Debug)]
pub(super) struct Chunk {
    from: i64,
    to: i64,
    count: u32,
    times: Times,
    values: Values,
}

#[derive(Debug, PartialEq)]
enum Times {
    /// Each so many milliseconds after the one before; 0 for a single point.
    Every(u32),
    /// The distances, one behind the other.
    Each(Box<[u8]>),
}

#[derive(Debug, PartialEq)]
enum Values {
    /// All the same, bit for bit.
    Same(f64),
    /// Whole numbers, to be divided by a power of ten: the first one, then distances (or distances of distances) in units of a
    /// power of two.
    Decimal { places: u8, shift: u8, twice: bool, bytes: Box<[u8]> },
    /// Any: what differs from the bits of the one before.
    Bits(Box<[u8]>),
}

impl Chunk {
    /// Packs points; nothing of none.
    pub(super) fn pack(points: &[Point]) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let values = match decimal(points) {
            _ if points.iter().all(|p| p.value.to_bits() == first.value.to_bits()) => {
                Values::Same(first.value)
            }
            Some((places, whole)) => whole_numbers(places, &whole),
            None => bits(points),
        };
        let count = u32::try_from(points.len()).ok()?;
        Some(Self { from: first.at, to: last.at, count, times: times(points), values })
    }

    /// When the first point is, and when the last.
    pub(super) fn window(&self) -> Window {
        Window { from: self.from, to: self.to }
    }

    /// No less than its points within a window, without unpacking them.
    pub(super) fn points_at_most(&self, window: Window) -> usize {
        if self.to < window.from || self.from > window.to {
            return 0;
        }
        let all = usize::try_from(self.count).unwrap_or(usize::MAX);
        match self.times {
            Times::Every(step) if step > 0 => {
                let within = self.to.min(window.to) - self.from.max(window.from);
                usize::try_from(within / i64::from(step)).unwrap_or(usize::MAX).saturating_add(1).min(all)
            }
            _ => all,
        }
    }

    /// What it costs besides itself, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let times = if let Times::Each(bytes) = &self.times { bytes.len() } else { 0 };
        times
            + match &self.values {
                Values::Same(_) => 0,
                Values::Decimal { bytes, .. } | Values::Bits(bytes) => bytes.len(),
            }
    }

    /// Takes another chunk that says the same value in the same step; whether it could.
    pub(super) fn extend(&mut self, next: &Self) -> bool {
        let (Times::Every(step), Times::Every(next_step)) = (&self.times, &next.times) else { return false };
        let (Values::Same(value), Values::Same(next_value)) = (&self.values, &next.values) else {
            return false;
        };
        let in_step = next.from.checked_sub(self.to) == Some(i64::from(*step));
        let same =
            value.to_bits() == next_value.to_bits() && (next_step == step || next.count == 1) && *step > 0;
        let Some(count) = self.count.checked_add(next.count).filter(|_| in_step && same) else {
            return false;
        };
        (self.to, self.count) = (next.to, count);
        true
    }

    /// Forgets the points before a time, where that costs nothing to do; false if none is left.
    pub(super) fn cut(&mut self, before: i64) -> bool {
        if self.to < before {
            return false;
        }
        if let (Times::Every(step), Values::Same(_)) = (&self.times, &self.values)
            && self.from < before
            && *step > 0
        {
            let step = i64::from(*step);
            let gone = before.saturating_sub(self.from).saturating_add(step - 1) / step;
            self.from += gone * step;
            self.count = self.count.saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX)).max(1);
        }
        true
    }

    /// Adds the points within a window to `out`.
    pub(super) fn unpack(&self, window: Window, out: &mut Vec<Point>) {
        if self.to < window.from || self.from > window.to {
            return;
        }
        if let (Times::Every(step), Values::Same(value)) = (&self.times, &self.values)
            && *step > 0
        {
            // It may be days long.
            let step = i64::from(*step);
            let skipped = window.from.saturating_sub(self.from).saturating_add(step - 1).max(0) / step;
            let mut at = self.from + skipped * step;
            while at <= self.to.min(window.to) {
                out.push(Point { at, value: *value });
                at += step;
            }
            return;
        }
        let mut times = self.times.iter(self.from);
        let mut each = |value: f64| {
            let Some(at) = times.next() else { return };
            if at >= window.from && at <= window.to {
                out.push(Point { at, value });
            }
        };
        match &self.values {
            Values::Same(value) => (0..self.count).for_each(|_| each(*value)),
            Values::Bits(bytes) => {
                let mut last = 0;
                for differs in numbers(bytes) {
                    last ^= differs;
                    each(f64::from_bits(last));
                }
            }
            Values::Decimal { places, shift, twice, bytes } => {
                let divisor = 10_f64.powi(i32::from(*places));
                let (mut value, mut pace) = (0_i64, 0_i64);
                for (n, number) in numbers(bytes).enumerate() {
                    let number = signed(number);
                    match (n, twice) {
                        (0, _) => value = number,
                        (_, false) => value = value.wrapping_add(number << shift),
                        (_, true) => {
                            pace = pace.wrapping_add(number << shift);
                            value = value.wrapping_add(pace);
                        }
                    }
                    each(value as f64 / divisor);
                }
            }
        }
    }
}

impl Times {
    fn iter(&self, from: i64) -> Box<dyn Iterator<Item = i64> + '_> {
        match self {
            Self::Every(step) => {
                let step = i64::from(*step);
                Box::new(std::iter::successors(Some(from), move |at| Some(at + step)))
            }
            Self::Each(bytes) => {
                let mut at = from;
                Box::new(std::iter::once(from).chain(numbers(bytes).map(move |distance| {
                    at = at.wrapping_add(signed(distance));
                    at
                })))
            }
        }
    }
}

fn times(points: &[Point]) -> Times {
    let distances = || points.windows(2).filter_map(|two| Some(two.get(1)?.at - two.first()?.at));
    let step = distances().next().unwrap_or(0);
    match u32::try_from(step) {
        Ok(step) if distances().all(|distance| distance == i64::from(step)) => Times::Every(step),
        _ => {
            let mut bytes = Vec::new();
            distances().for_each(|distance| put(&mut bytes, unsigned(distance)));
            Times::Each(bytes.into())
        }
    }
}

/// The values as whole numbers over one power of ten, if they are that exactly.
fn decimal(points: &[Point]) -> Option<(u8, Vec<i64>)> {
    (0..=PLACES_MAX).find_map(|places| {
        let factor = 10_f64.powi(i32::from(places));
        let whole = |p: &Point| {
            let scaled = (p.value * factor).round();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a float beyond the range becomes its end, and is looked at"
            )]
            let whole = scaled as i64;
            // Not of -0, which no whole number is.
            let exact = scaled.abs() < EXACT_MAX && (whole as f64 / factor).to_bits() == p.value.to_bits();
            exact.then_some(whole)
        };
        points.iter().map(whole).collect::<Option<Vec<i64>>>().map(|all| (places, all))
    })
}

fn whole_numbers(places: u8, all: &[i64]) -> Values {
    let distances: Vec<i64> =
        all.windows(2).filter_map(|two| Some(two.get(1)?.wrapping_sub(*two.first()?))).collect();
    // Counts of bytes come in pages.
    let shift = distances.iter().fold(0, |all, distance| all | distance).trailing_zeros().min(62);
    let shift = u8::try_from(shift).unwrap_or(0);
    let first = all.first().copied().unwrap_or(0);
    let pack = |distances: &mut dyn Iterator<Item = i64>| {
        let mut bytes = Vec::new();
        put(&mut bytes, unsigned(first));
        distances.for_each(|distance| put(&mut bytes, unsigned(distance >> shift)));
        bytes
    };
    let once = pack(&mut distances.iter().copied());
    let mut former = 0;
    let twice =
        pack(&mut distances.iter().map(|&distance| distance - std::mem::replace(&mut former, distance)));
    let twice_is_less = twice.len() < once.len();
    let bytes = if twice_is_less { twice } else { once }.into();
    Values::Decimal { places, shift, twice: twice_is_less, bytes }
}

fn bits(points: &[Point]) -> Values {
    let (mut bytes, mut last) = (Vec::new(), 0);
    for point in points {
        let bits = point.value.to_bits();
        put(&mut bytes, bits ^ last);
        last = bits;
    }
    Values::Bits(bytes.into())
}

/// A number with its sign in the lowest bit, so that small ones of either sign are short.
fn unsigned(number: i64) -> u64 {
    (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned()
}

fn signed(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Seven bits a byte, the lowest first.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let mut bytes = bytes.iter();
    std::iter::from_fn(move || {
        let (mut number, mut shift) = (0_u64, 0_u32);
        loop {
            let byte = *bytes.next()?;
            number |= u64::from(byte & 0x7f).wrapping_shl(shift);
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::stale;
    use proptest::prelude::*;

    const ALL: Window = Window { from: i64::MIN, to: i64::MAX };

    fn points(values: &[f64], step: i64) -> Vec<Point> {
        values.iter().zip(0..).map(|(&value, n)| Point { at: 1_700_000_000_000 + n * step, value }).collect()
    }

    fn there_and_back(points: &[Point]) -> (Chunk, Vec<(i64, u64)>) {
        let chunk = Chunk::pack(points).unwrap();
        let mut out = Vec::new();
        chunk.unpack(ALL, &mut out);
        (chunk, bits_of(&out))
    }

    fn bits_of(points: &[Point]) -> Vec<(i64, u64)> {
        points.iter().map(|p| (p.at, p.value.to_bits())).collect()
    }

    #[test]
    fn all_comes_back_bit_for_bit() {
        for values in [
            vec![1.0],
            vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, stale(), 1e300, -1e-300],
            vec![0.1, 0.2, 0.300_000_000_000_000_04, 0.25],
            vec![9_007_199_254_740_991.0, -9_007_199_254_740_991.0, 0.0],
            vec![1e18, 1e18, 2e18],
        ] {
            let given = points(&values, 5000);
            assert_eq!(there_and_back(&given).1, bits_of(&given), "{values:?}");
        }
        assert!(Chunk::pack(&[]).is_none());
    }

    #[test]
    fn what_the_kernel_says_is_small() {
        let seconds: Vec<f64> = (0..120).map(|n| f64::from(123_456 + n * 7 + n % 3) / 100.0).collect();
        let memory: Vec<f64> = (0..120).map(|n| f64::from((n * 7919) % 1000) * 4096.0 + 8e9).collect();
        for (values, most) in [(seconds, 130), (memory, 260), (vec![3.5; 120], 0)] {
            let given = points(&values, 5000);
            let (chunk, back) = there_and_back(&given);
            assert_eq!(back, bits_of(&given));
            assert!(chunk.bytes() <= most, "{} bytes, at most {most}", chunk.bytes());
        }
    }

    #[test]
    fn a_value_that_stays_is_one_chunk_of_which_any_part_can_be_seen_and_cut() {
        let all = points(&[7.0; 300], 5000);
        let mut chunk = Chunk::pack(&all[..100]).unwrap();
        assert!(
            chunk.extend(&Chunk::pack(&all[100..299]).unwrap())
                && chunk.extend(&Chunk::pack(&all[299..]).unwrap())
        );
        assert!(!chunk.extend(&Chunk::pack(&all[299..]).unwrap()), "a gap");
        let seen = |chunk: &Chunk, window| {
            let mut out = Vec::new();
            chunk.unpack(window, &mut out);
            out
        };
        assert_eq!(seen(&chunk, ALL), all);
        let part = Window { from: all[10].at - 1, to: all[20].at + 1 };
        assert_eq!(seen(&chunk, part), all[10..=20]);
        assert!(chunk.cut(all[150].at - 1));
        assert_eq!(seen(&chunk, ALL), all[150..]);
        assert!(!chunk.cut(all[299].at + 1));
    }

    proptest! {
        #[test]
        fn any_points_come_back(
            values in prop::collection::vec(prop_oneof![any::<f64>(), (-1000_i32..1000).prop_map(f64::from), (0..99_i32).prop_map(|n| f64::from(n) / 100.0)], 1..200),
            steps in prop::collection::vec(1_i64..100_000, 200),
            window in (0_i64..10_000_000, 0_i64..10_000_000),
        ) {
            let mut at = 0;
            let given: Vec<Point> = values.iter().zip(&steps).map(|(&value, step)| { at += step; Point { at, value } }).collect();
            let (chunk, back) = there_and_back(&given);
            prop_assert_eq!(back, bits_of(&given));
            let window = Window { from: window.0.min(window.1), to: window.0.max(window.1) };
            let mut out = Vec::new();
            chunk.unpack(window, &mut out);
            let within: Vec<Point> = given.into_iter().filter(|p| p.at >= window.from && p.at <= window.to).collect();
            prop_assert_eq!(bits_of(&out), bits_of(&within));
        }
    }
}
