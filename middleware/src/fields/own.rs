//! The places that a stored response keeps for the fields that are set anew in each answer.
//!
//! They are its first fields, and `Age` leads them: so they are found by a glance at a few names, where
//! the map would hash each.

use http::header::AGE;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The place of `name`, if `fields` begin with such places. It may have been filled already.
pub(crate) fn own_place<'a>(
    fields: &'a mut HeaderMap,
    name: &HeaderName,
) -> Option<&'a mut HeaderValue> {
    let mut places = fields.iter_mut().take(PLACES);
    let (first, age) = places.next()?;
    if first != AGE {
        return None;
    }
    if *name == AGE {
        return Some(age);
    }
    places
        .find(|(place, _)| *place == name)
        .map(|(_, value)| value)
}

/// `Age`, `X-Request-Id`, `Via`, `Cache-Status`.
const PLACES: usize = 4;

#[cfg(test)]
mod tests {
    use http::header::{DATE, VIA};

    use super::*;

    #[test]
    fn places_are_found_where_age_leads_them() {
        let empty = HeaderValue::from_static("");
        let line = |name: &HeaderName| (name.clone(), empty.clone());
        let mut stored: HeaderMap = [AGE, VIA, DATE].iter().map(line).collect();
        for name in [AGE, VIA] {
            *own_place(&mut stored, &name).unwrap() = HeaderValue::from_static("1");
            assert_eq!(stored[name], "1");
        }
        let mut others: HeaderMap = [VIA, AGE].iter().map(line).collect();
        assert!(own_place(&mut others, &VIA).is_none());
        assert!(own_place(&mut HeaderMap::new(), &AGE).is_none());
    }
}
