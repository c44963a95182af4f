//! Exact decimal arithmetic of any size: the slow path behind [`super::numeric::Numeric`].
//! A number is an integer of base-10^9 limbs and a decimal scale. Knows nothing of PostgreSQL's limits or texts.

use std::cmp::Ordering;

const BASE: u64 = 1_000_000_000;
const LIMB_DIGITS: usize = 9;

/// `±limbs · 10^-scale`; limbs are little-endian, without zero limbs at the top; zero has none and is not negative.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decimal {
    pub negative: bool,
    pub scale: u32,
    pub limbs: Vec<u32>,
}

impl Decimal {
    pub fn from_i128(value: i128, scale: u32) -> Decimal {
        let mut rest = value.unsigned_abs();
        let mut limbs = Vec::with_capacity(5);
        while rest != 0 {
            limbs.push((rest % u128::from(BASE)) as u32);
            rest /= u128::from(BASE);
        }
        Decimal {
            negative: value < 0,
            scale,
            limbs,
        }
    }

    /// From ASCII digits, most significant first.
    pub fn from_digits(negative: bool, digits: &[u8], scale: u32) -> Decimal {
        let mut limbs: Vec<u32> = digits
            .rchunks(LIMB_DIGITS)
            .map(|chunk| {
                chunk
                    .iter()
                    .fold(0, |limb, digit| limb * 10 + u32::from(digit - b'0'))
            })
            .collect();
        trim(&mut limbs);
        Decimal {
            negative: negative && !limbs.is_empty(),
            scale,
            limbs,
        }
    }

    /// The mantissa if it has at most 18 digits.
    pub fn small_mantissa(&self) -> Option<i64> {
        if self.limbs.len() > 2 {
            return None;
        }
        let magnitude = self
            .limbs
            .iter()
            .rev()
            .fold(0_u64, |sum, limb| sum * BASE + u64::from(*limb)) as i64;
        Some(if self.negative { -magnitude } else { magnitude })
    }

    pub fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    /// The mantissa's decimal digits, most significant first; empty for zero.
    pub fn digits(&self) -> String {
        digits_of(&self.limbs)
    }

    /// Number of decimal digits of the mantissa; 0 for zero.
    pub fn digit_count(&self) -> usize {
        match self.limbs.last() {
            None => 0,
            Some(top) => (self.limbs.len() - 1) * LIMB_DIGITS + top.ilog10() as usize + 1,
        }
    }

    pub fn negate(mut self) -> Decimal {
        self.negative = !self.negative && !self.limbs.is_empty();
        self
    }

    pub fn add(&self, other: &Decimal) -> Decimal {
        let scale = self.scale.max(other.scale);
        let left = raised(&self.limbs, (scale - self.scale) as usize);
        let right = raised(&other.limbs, (scale - other.scale) as usize);
        if self.negative == other.negative {
            return Decimal::of(self.negative, scale, add_limbs(&left, &right));
        }
        match compare_limbs(&left, &right) {
            Ordering::Less => Decimal::of(other.negative, scale, subtract_limbs(&right, &left)),
            Ordering::Equal => Decimal::of(false, scale, Vec::new()),
            Ordering::Greater => Decimal::of(self.negative, scale, subtract_limbs(&left, &right)),
        }
    }

    pub fn multiply(&self, other: &Decimal) -> Decimal {
        Decimal::of(
            self.negative != other.negative,
            self.scale + other.scale,
            multiply_limbs(&self.limbs, &other.limbs),
        )
    }

    /// The quotient at `scale`, rounded half away from zero or truncated. The divisor is not zero.
    pub fn divide(&self, other: &Decimal, scale: u32, round: bool) -> Decimal {
        let shift = i64::from(scale) + i64::from(other.scale) - i64::from(self.scale);
        let (numerator, divisor) = if shift >= 0 {
            (raised(&self.limbs, shift as usize), other.limbs.clone())
        } else {
            (
                self.limbs.clone(),
                raised(&other.limbs, shift.unsigned_abs() as usize),
            )
        };
        let (mut quotient, remainder) = divide_limbs(&numerator, &divisor);
        if round && compare_limbs(&add_limbs(&remainder, &remainder), &divisor) != Ordering::Less {
            quotient = add_limbs(&quotient, &[1]);
        }
        Decimal::of(self.negative != other.negative, scale, quotient)
    }

    /// At `scale` digits after the point, which may be negative (a multiple of a power of ten);
    /// the result's own scale is then 0.
    pub fn rescale(&self, scale: i32, round: bool) -> Decimal {
        let own = self.scale as i32;
        if scale >= own {
            let limbs = raised(&self.limbs, (scale - own) as usize);
            return Decimal::of(self.negative, scale as u32, limbs);
        }
        let mut limbs = lowered(&self.limbs, (own - scale) as usize, round);
        if scale < 0 {
            limbs = raised(&limbs, scale.unsigned_abs() as usize);
        }
        Decimal::of(self.negative, scale.max(0) as u32, limbs)
    }

    /// The square root at `scale`, rounded; of a number that is not negative.
    pub fn square_root(&self, scale: u32) -> Decimal {
        self.root_rounded(scale as i32)
    }

    /// The same at a scale that may be negative, which rounds before the point.
    pub fn root_rounded(&self, scale: i32) -> Decimal {
        if self.is_zero() {
            return Decimal::of(false, scale.max(0) as u32, Vec::new());
        }
        // One digit more than wanted decides the rounding.
        let inner = scale.max(0) as u32 + 1;
        let square = self.rescale(2 * inner as i32, false);
        let square = Decimal::of(false, 0, square.limbs);
        let mut root = square.whole_root();
        root.scale = inner;
        root.rescale(scale, true)
    }

    /// Of a whole number that is not zero.
    fn whole_root(&self) -> Decimal {
        let half = Decimal::of(false, 0, vec![2]);
        let mut root = Decimal::of(false, 0, raised(&[1], self.digit_count().div_ceil(2)));
        // Newton's method from above; it falls until it has the whole part.
        loop {
            let quotient = self.divide(&root, 0, false);
            let next = root.add(&quotient).divide(&half, 0, false);
            if next.compare(&root).is_ge() {
                return root;
            }
            root = next;
        }
    }

    pub fn compare(&self, other: &Decimal) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (negative, _) => {
                let magnitudes = self.compare_magnitude(other);
                if negative {
                    magnitudes.reverse()
                } else {
                    magnitudes
                }
            }
        }
    }

    fn compare_magnitude(&self, other: &Decimal) -> Ordering {
        let top = |d: &Decimal| d.digit_count() as i64 - i64::from(d.scale);
        if self.is_zero() || other.is_zero() {
            return self.limbs.len().cmp(&other.limbs.len());
        }
        top(self).cmp(&top(other)).then_with(|| {
            let scale = self.scale.max(other.scale);
            compare_limbs(
                &raised(&self.limbs, (scale - self.scale) as usize),
                &raised(&other.limbs, (scale - other.scale) as usize),
            )
        })
    }

    fn of(negative: bool, scale: u32, mut limbs: Vec<u32>) -> Decimal {
        trim(&mut limbs);
        Decimal {
            negative: negative && !limbs.is_empty(),
            scale,
            limbs,
        }
    }
}

/// The decimal digits of an integer, most significant first; empty for zero.
pub fn digits_of(limbs: &[u32]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(limbs.len() * LIMB_DIGITS);
    for (at, limb) in limbs.iter().rev().enumerate() {
        // Writing to a String cannot fail.
        let _ = if at == 0 {
            write!(out, "{limb}")
        } else {
            write!(out, "{limb:09}")
        };
    }
    out
}

fn trim(limbs: &mut Vec<u32>) {
    while limbs.last() == Some(&0) {
        limbs.pop();
    }
}

fn compare_limbs(left: &[u32], right: &[u32]) -> Ordering {
    left.len()
        .cmp(&right.len())
        .then_with(|| left.iter().rev().cmp(right.iter().rev()))
}

fn add_limbs(left: &[u32], right: &[u32]) -> Vec<u32> {
    let (long, short) = if left.len() >= right.len() {
        (left, right)
    } else {
        (right, left)
    };
    let mut out = Vec::with_capacity(long.len() + 1);
    let mut carry = 0;
    for (at, limb) in long.iter().enumerate() {
        let sum = u64::from(*limb) + u64::from(short.get(at).copied().unwrap_or(0)) + carry;
        out.push((sum % BASE) as u32);
        carry = sum / BASE;
    }
    if carry != 0 {
        out.push(carry as u32);
    }
    out
}

/// `left - right`, where `left >= right`.
fn subtract_limbs(left: &[u32], right: &[u32]) -> Vec<u32> {
    let mut out = Vec::with_capacity(left.len());
    let mut borrow = 0;
    for (at, limb) in left.iter().enumerate() {
        let mut difference =
            i64::from(*limb) - i64::from(right.get(at).copied().unwrap_or(0)) - borrow;
        borrow = i64::from(difference < 0);
        if difference < 0 {
            difference += BASE as i64;
        }
        out.push(difference as u32);
    }
    trim(&mut out);
    out
}

fn multiply_limbs(left: &[u32], right: &[u32]) -> Vec<u32> {
    let mut out = vec![0_u32; left.len() + right.len()];
    // A short text such as 1e131071 has thousands of zero limbs.
    for (at, a) in left.iter().enumerate().filter(|(_, limb)| **limb != 0) {
        let mut carry = 0;
        for (offset, b) in right.iter().enumerate() {
            let sum = u64::from(*a) * u64::from(*b) + u64::from(out[at + offset]) + carry;
            out[at + offset] = (sum % BASE) as u32;
            carry = sum / BASE;
        }
        out[at + right.len()] = carry as u32;
    }
    trim(&mut out);
    out
}

/// `limbs · 10^digits`.
fn raised(limbs: &[u32], digits: usize) -> Vec<u32> {
    if digits == 0 || limbs.is_empty() {
        return limbs.to_vec();
    }
    let factor = 10_u64.pow((digits % LIMB_DIGITS) as u32);
    let mut out = vec![0_u32; digits / LIMB_DIGITS];
    let mut carry = 0;
    for limb in limbs {
        let product = u64::from(*limb) * factor + carry;
        out.push((product % BASE) as u32);
        carry = product / BASE;
    }
    if carry != 0 {
        out.push(carry as u32);
    }
    out
}

/// `limbs / 10^digits`, truncated or rounded half up.
fn lowered(limbs: &[u32], digits: usize, round: bool) -> Vec<u32> {
    let (whole, part) = (digits / LIMB_DIGITS, (digits % LIMB_DIGITS) as u32);
    let first_dropped = if part == 0 {
        // The digit below the cut is the top digit of the limb under it.
        whole
            .checked_sub(1)
            .and_then(|at| limbs.get(at))
            .map_or(0, |limb| limb / 100_000_000)
    } else {
        limbs
            .get(whole)
            .map_or(0, |limb| limb / 10_u32.pow(part - 1) % 10)
    };
    let kept = limbs.get(whole..).unwrap_or(&[]);
    let mut out = divide_small(kept, 10_u32.pow(part)).0;
    if round && first_dropped >= 5 {
        out = add_limbs(&out, &[1]);
    }
    trim(&mut out);
    out
}

fn divide_small(limbs: &[u32], divisor: u32) -> (Vec<u32>, u32) {
    let mut out = vec![0; limbs.len()];
    let mut remainder = 0_u64;
    for (slot, limb) in out.iter_mut().zip(limbs).rev() {
        let value = remainder * BASE + u64::from(*limb);
        *slot = (value / u64::from(divisor)) as u32;
        remainder = value % u64::from(divisor);
    }
    trim(&mut out);
    (out, remainder as u32)
}

/// Quotient and remainder, by Knuth's algorithm D (The Art of Computer Programming, volume 2, 4.3.1).
fn divide_limbs(numerator: &[u32], divisor: &[u32]) -> (Vec<u32>, Vec<u32>) {
    if compare_limbs(numerator, divisor) == Ordering::Less {
        return (Vec::new(), numerator.to_vec());
    }
    if let [single] = divisor {
        let (quotient, remainder) = divide_small(numerator, *single);
        let mut remainder = vec![remainder];
        trim(&mut remainder);
        return (quotient, remainder);
    }
    let size = divisor.len();
    let factor = (BASE / (u64::from(divisor[size - 1]) + 1)) as u32;
    let v = multiply_limbs(divisor, &[factor]);
    let mut u = multiply_limbs(numerator, &[factor]);
    u.resize(numerator.len() + 1, 0);
    let mut quotient = vec![0_u32; numerator.len() - size + 1];
    for at in (0..quotient.len()).rev() {
        let digit = guess_digit(&u[at..=at + size], &v);
        quotient[at] = subtract_product(&mut u[at..=at + size], &v, digit);
    }
    trim(&mut quotient);
    u.truncate(size);
    trim(&mut u);
    (quotient, divide_small(&u, factor).0)
}

/// Knuth's estimate of the next quotient digit: right, or one too high.
fn guess_digit(u: &[u32], v: &[u32]) -> u64 {
    let size = v.len();
    let top = u64::from(u[size]) * BASE + u64::from(u[size - 1]);
    let (first, second) = (u64::from(v[size - 1]), u64::from(v[size - 2]));
    let mut digit = top / first;
    let mut rest = top % first;
    while digit >= BASE || digit * second > rest * BASE + u64::from(u[size - 2]) {
        digit -= 1;
        rest += first;
        if rest >= BASE {
            break;
        }
    }
    digit
}

/// `u -= v · digit`, corrected if the digit was one too high; gives the digit that holds.
fn subtract_product(u: &mut [u32], v: &[u32], digit: u64) -> u32 {
    let limb = |at: usize| v.get(at).map_or(0, |limb| u64::from(*limb));
    let mut borrow = 0_i64;
    let mut carry = 0_u64;
    for (at, slot) in u.iter_mut().enumerate() {
        let product = limb(at) * digit + carry;
        carry = product / BASE;
        let mut difference = i64::from(*slot) - (product % BASE) as i64 - borrow;
        borrow = i64::from(difference < 0);
        if difference < 0 {
            difference += BASE as i64;
        }
        *slot = difference as u32;
    }
    if borrow == 0 {
        return digit as u32;
    }
    let mut carry = 0_u64;
    for (at, slot) in u.iter_mut().enumerate() {
        let sum = u64::from(*slot) + limb(at) + carry;
        *slot = (sum % BASE) as u32;
        carry = sum / BASE;
    }
    digit as u32 - 1
}
