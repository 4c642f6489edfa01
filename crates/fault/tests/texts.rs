//! Texts from outside: whatever they are, they are read or refused.

use bitquake_fault::{ChipArrays, ChipMap, ElementSite, SiteRange};
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_text_is_a_site_or_an_error(text in r"[a@:.*,0-9+\-lbiw/]{0,24}|\PC*") {
        if let Ok(site) = text.parse::<SiteRange>() {
            prop_assert_eq!(site.to_string().parse::<SiteRange>(), Ok(site));
        }
        if let Ok(site) = text.parse::<ElementSite>() {
            prop_assert_eq!(site.to_string().parse::<ElementSite>(), Ok(site));
        }
    }

    #[test]
    fn any_text_is_a_chip_or_an_error(
        size in "(size,[0-9]{1,3},[0-9]{1,20}\n)?",
        header in "(row,column,(threshold|p01|p10|stuck|x)(,stuck)?\n)?",
        rest in "([0-9,.e\\-]{0,12}\n|[0-9]{1,2},[0-9],[01](.5)?\n){0,6}",
    ) {
        if let Ok(chip) = ChipMap::from_csv(&(size + &header + &rest)) {
            prop_assert_eq!(ChipMap::from_csv(&chip.to_csv()), Ok(chip));
        }
    }

    #[test]
    fn chips_survive_their_csv(
        p01 in proptest::collection::vec(0.0..=1.0_f64, 12),
        threshold in proptest::collection::vec(-1.0..2.0_f64, 12),
        stuck in proptest::collection::vec(-1..=1_i8, 12),
        which in 0..8_u8,
    ) {
        let given = |bit: u8| which >> bit & 1 == 1;
        let arrays = ChipArrays {
            p01: given(0).then_some(&p01),
            threshold: given(1).then_some(&threshold),
            stuck: given(2).then_some(&stuck),
            ..ChipArrays::default()
        };
        let chip = ChipMap::from_arrays(3, 4, &arrays);
        prop_assert_eq!(chip.is_ok(), which != 0);
        if let Ok(chip) = chip {
            prop_assert_eq!(ChipMap::from_csv(&chip.to_csv()), Ok(chip));
        }
    }
}
