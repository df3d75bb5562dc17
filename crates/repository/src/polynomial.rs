//! Polynomials over GF(2), as bits of a number: every repository has a random irreducible one of degree 53. restic cuts with
//! it; we key our cutting with it, and must write one that restic accepts (`doc/design.rst`, "Backups and Deduplication").

const DEGREE: u32 = 53;

/// A random irreducible polynomial of degree 53.
pub(crate) fn random() -> Result<u64, getrandom::Error> {
    loop {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)?;
        // One in 53 is irreducible; an even one never is.
        let candidate = u64::from_le_bytes(bytes) & ((1 << DEGREE) - 1) | 1 << DEGREE | 1;
        if is_irreducible(candidate) {
            return Ok(candidate);
        }
    }
}

/// Whether a polynomial is of degree 53 and has no factor.
///
/// The degree is prime. So it has none if and only if it has no root and x^(2^53) is x modulo it (Rabin 1980).
pub(crate) fn is_irreducible(polynomial: u64) -> bool {
    let has_root = polynomial & 1 == 0 || polynomial.count_ones().is_multiple_of(2);
    if polynomial >> DEGREE != 1 || has_root {
        return false;
    }
    const X: u64 = 2;
    (0..DEGREE).fold(X, |power, _| multiply(power, power, polynomial)) == X
}

fn multiply(a: u64, mut b: u64, modulus: u64) -> u64 {
    let (mut a, mut product) = (a, 0);
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        b >>= 1;
        a <<= 1;
        if a >> DEGREE & 1 == 1 {
            a ^= modulus;
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_of_restic_are_irreducible_and_products_are_not() {
        // From restic's documentation and tests.
        for polynomial in [0x0025_b468_838d_cb75, 0x003D_A335_8B4D_C173] {
            assert!(is_irreducible(polynomial), "{polynomial:x}");
        }
        // (x + 1) x^52, one without a constant, one of another degree.
        for polynomial in [0b11 << 52, 0x0025_b468_838d_cb74, 0b111] {
            assert!(!is_irreducible(polynomial), "{polynomial:x}");
        }
    }

    #[test]
    fn a_random_one_is_irreducible_and_another_every_time() {
        let (one, another) = (random().unwrap(), random().unwrap());
        assert!(is_irreducible(one) && is_irreducible(another));
        assert_ne!(one, another);
    }
}
