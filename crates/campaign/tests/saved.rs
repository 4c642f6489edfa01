//! The configuration beside results, when the inputs are gone.

use bitquake_campaign::{SavedConfig, read_config};

#[test]
fn results_are_read_without_the_files_of_their_faults() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("campaign.toml");
    let text = "schema = 1\n[model]\npath = 'gone.onnx'\n[data]\nformat = 'npz'\nimages = 'gone.npz'\n\
                [fault]\nmodel = 'shape'\nshape = { file = 'gone.json' }\ncounts = [1]\n[run]\ntrials = 3\n";
    std::fs::write(&file, text).unwrap();
    assert_eq!(SavedConfig::read(&file).unwrap().run().trials, 3);
    let said = read_config(std::slice::from_ref(&file), &[]).unwrap_err().to_string();
    assert!(said.contains("gone.json"), "{said}");
    // What is wrong with the keys is told all the same.
    std::fs::write(&file, text.replace("counts = [1]", "counts = [1]\nlength = 3")).unwrap();
    assert!(SavedConfig::read(&file).is_err());
}
