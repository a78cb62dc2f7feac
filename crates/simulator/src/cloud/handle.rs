//! EventHandles: what a delivery is confirmed with.

/// Makes handles of the numbers of deliveries and reads them again, by a secret of the queue, so
/// that a handle of one application means nothing to another. A handle looks as the vendor's do:
/// a number in quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handles {
    key: u64,
}

/// Odd, so that multiplying by it can be undone.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Handles {
    pub(super) fn new(seed: u64, sub_app_id: u64) -> Self {
        let key = seed.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ sub_app_id.rotate_left(32);
        Self { key }
    }

    /// The handle of a delivery.
    pub(super) fn handle(self, delivery: u32) -> u64 {
        (u64::from(delivery) ^ self.key).wrapping_mul(FACTOR)
    }

    /// The delivery of a handle, if it is one that this queue could have made.
    pub(super) fn delivery(self, handle: &str) -> Option<u32> {
        let number: u64 = handle.parse().ok()?;
        u32::try_from(number.wrapping_mul(inverse(FACTOR)) ^ self.key).ok()
    }
}

/// The inverse of an odd number modulo 2^64, by Newton: each step doubles the bits that are right.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_leads_back_to_its_delivery_in_its_own_queue_only() {
        let handles = Handles::new(1, 1_500_012_345);
        let other = Handles::new(1, 1_500_067_890);
        for delivery in [0, 1, 77, u32::MAX] {
            let handle = handles.handle(delivery).to_string();
            assert_eq!(handles.delivery(&handle), Some(delivery));
            assert_eq!(other.delivery(&handle), None);
        }
        assert_eq!(handles.delivery("EventHandle.N"), None);
        assert_eq!(handles.delivery("12345"), None);
    }
}
