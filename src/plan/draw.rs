//! Lots that are drawn from names: even over many names, the same for one name, and not to be guessed from another.

/// Draws a number above 0 and below 1 for what these parts name together.
///
/// FNV-1a, and the finalizer of MurmurHash3 behind it, since FNV alone leaves the high bits of short names alike.
pub fn draw(parts: &[&[u8]]) -> f64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    // A part's end counts, so that `a`, `bc` is another name than `ab`, `c`.
    let bytes = parts.iter().flat_map(|part| part.iter().map(|byte| u64::from(*byte)).chain([0x100]));
    let mut hash = bytes.fold(OFFSET, |hash, byte| (hash ^ byte).wrapping_mul(PRIME));
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^= hash >> 33;
    // 32 bits are more than enough, and exact in a float. Between the steps, so that neither end is ever drawn.
    let [high @ .., _, _, _, _] = hash.to_be_bytes();
    (f64::from(u32::from_be_bytes(high)) + 0.5) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_drawn_evenly() {
        let lots: Vec<f64> = (0..2_000).map(|number| draw(&[b"eu", format!("{number}").as_bytes()])).collect();
        for tenth in 0..10 {
            let from = f64::from(tenth) / 10.0;
            let here = lots.iter().filter(|lot| (from..from + 0.1).contains(*lot)).count();
            assert!((140..260).contains(&here), "{here} of 2,000 from {from}");
        }
        assert_eq!(draw(&[b"eu-0"]).to_bits(), draw(&[b"eu-0"]).to_bits());
        assert_ne!(draw(&[b"a", b"bc"]).to_bits(), draw(&[b"ab", b"c"]).to_bits());
    }
}
