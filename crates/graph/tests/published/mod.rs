//! Networks whose number of parameters is published.

use bitquake_graph::architecture::Architecture;

pub const CIFAR: [u64; 3] = [3, 32, 32];
pub const MNIST: [u64; 3] = [1, 28, 28];

pub fn with_channels(name: &str, channels: u64, input: [u64; 3], classes: u64) -> Architecture {
    Architecture { channels: Some(channels), ..Architecture::new(name, input, classes) }
}

/// The network, its trained parameters, and who counted them.
pub fn published() -> Vec<(Architecture, u64, &'static str)> {
    let stutz = "Stutz et al. 2021";
    let wcat = "weight-clipping-aware training (TMLR 2023)";
    // The paper gives 0.46, 0.66 and 0.85 million, with shortcuts that have no parameters. A 1x1 shortcut has
    // 16*32 + 2*32 = 576 or 32*64 + 2*64 = 2176.
    let he = "He et al. 2016, and 2752 in 1x1 shortcuts";
    vec![
        (with_channels("simplenet", 64, CIFAR, 10), 5_498_378, stutz),
        (with_channels("simplenet", 64, CIFAR, 100), 5_521_508, stutz),
        (with_channels("simplenet", 32, CIFAR, 10), 1_379_082, stutz),
        (with_channels("simplenet", 32, MNIST, 10), 1_082_826, stutz),
        (with_channels("simplenet", 64, MNIST, 10), 4_316_042, stutz),
        (Architecture::new("resnet18", CIFAR, 10), 11_174_922, stutz),
        (with_channels("resnet20-biased", 64, CIFAR, 10), 4_328_202, stutz),
        (with_channels("resnet20-biased", 32, CIFAR, 10), 1_084_810, stutz),
        (Architecture::new("resnet34", CIFAR, 10), 21_283_082, stutz),
        (Architecture::new("resnet50", CIFAR, 10), 23_524_746, stutz),
        (Architecture::new("wrn28-10", CIFAR, 10), 36_489_290, stutz),
        (Architecture::new("lenet5", MNIST, 10), 61_706, wcat),
        (Architecture::new("mlp", MNIST, 10), 167_560, wcat),
        (Architecture::new("resnet20", CIFAR, 10), 272_474, wcat),
        (Architecture::new("resnet32", CIFAR, 10), 464_154 + 2_752, he),
        (Architecture::new("resnet44", CIFAR, 10), 658_586 + 2_752, he),
        (Architecture::new("resnet56", CIFAR, 10), 853_018 + 2_752, he),
        (Architecture::new("vgg11", CIFAR, 10), 9_231_114, "usual for CIFAR-10"),
    ]
}
