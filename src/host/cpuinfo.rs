//! What /proc/cpuinfo tells about each processor.
//!
//! Source: `arch/*/kernel/cpu/proc.c` and its like; there is no document, and every architecture has its own words.

use super::parse::{ParseError, lines, number};

/// One processor. What its architecture does not tell is empty or absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuInfo<'a> {
    /// Its number.
    pub number: &'a str,
    /// Who made it.
    pub vendor: &'a str,
    /// The maker's number of its family.
    pub family: &'a str,
    /// The maker's number of its model.
    pub model: &'a str,
    /// The name of its model.
    pub model_name: &'a str,
    /// The version of its microcode.
    pub microcode: &'a str,
    /// The maker's number of its revision.
    pub stepping: &'a str,
    /// The size of its cache, with a unit.
    pub cache_size: &'a str,
    /// The number of its package.
    pub package: &'a str,
    /// The number of its core.
    pub core: &'a str,
    /// What it runs at, in MHz.
    pub megahertz: Option<f64>,
    /// What it can, in words.
    pub flags: &'a str,
    /// Which of its defects the kernel knows, in words.
    pub bugs: &'a str,
}

/// The processors in the file's order.
pub fn cpuinfo(text: &str) -> Result<Vec<CpuInfo<'_>>, ParseError> {
    // What stands before the first processor is about all of them.
    let mut all = CpuInfo::default();
    let mut out: Vec<CpuInfo<'_>> = Vec::new();
    for (n, line) in lines(text) {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.strip_prefix(' ').unwrap_or(value);
        let key = key.trim();
        if key == "processor" {
            let _: u32 = number(Some(value), n, "the number of a processor")?;
            out.push(CpuInfo { number: value, ..all });
        } else {
            let cpu = out.last_mut().unwrap_or(&mut all);
            take(cpu, key, value, n)?;
        }
    }
    Ok(out)
}

fn take<'a>(cpu: &mut CpuInfo<'a>, key: &str, value: &'a str, n: usize) -> Result<(), ParseError> {
    match key {
        // x86, s390; MIPS and LoongArch; PowerPC.
        "vendor" | "vendor_id" | "system type" | "cpu" => cpu.vendor = value,
        "cpu family" | "CPU Family" => cpu.family = value,
        // PowerPC ends with a line about the machine, which has no processor's family.
        "model" if !cpu.family.is_empty() => cpu.model = value,
        // x86 and ARM; old ARM; LoongArch; MIPS; RISC-V.
        "model name" | "Processor" | "Model Name" | "cpu model" | "isa" => cpu.model_name = value,
        "microcode" => cpu.microcode = value,
        "stepping" => cpu.stepping = value,
        "cache size" => cpu.cache_size = value,
        "physical id" => cpu.package = value,
        "core id" | "hart" => cpu.core = value,
        "cpu MHz" | "clock" => {
            let value = value.trim().trim_end_matches("MHz");
            cpu.megahertz = Some(number(Some(value), n, "a frequency in MHz")?);
        }
        "flags" | "Features" | "features" => cpu.flags = value,
        "bugs" => cpu.bugs = value,
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intel_processor_tells_all() {
        let text = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 142\nmodel name\t: i7\n\
                    stepping\t: 10\nmicrocode\t: 0xb4\ncpu MHz\t\t: 799.998\ncache size\t: 8192 KB\nphysical id\t: 0\n\
                    core id\t\t: 3\nflags\t\t: fpu vme\nbugs\t\t: mds\npower management:\n\nprocessor\t: 1\n";
        let all = cpuinfo(text).unwrap();
        assert_eq!(all.len(), 2);
        let wanted = CpuInfo {
            number: "0",
            vendor: "GenuineIntel",
            family: "6",
            model: "142",
            model_name: "i7",
            microcode: "0xb4",
            stepping: "10",
            cache_size: "8192 KB",
            package: "0",
            core: "3",
            megahertz: Some(799.998),
            flags: "fpu vme",
            bugs: "mds",
        };
        assert_eq!(all[0], wanted);
        assert_eq!(all[1], CpuInfo { number: "1", ..CpuInfo::default() });
    }

    #[test]
    fn other_architectures_tell_less() {
        let arm = cpuinfo("processor\t: 0\nBogoMIPS\t: 48.00\nFeatures\t: fp asimd\n").unwrap();
        assert_eq!((arm[0].flags, arm[0].megahertz, arm[0].vendor), ("fp asimd", None, ""));
        let power =
            "processor\t: 0\ncpu\t\t: POWER9\nclock\t\t: 2300.000000MHz\n\ntimebase\t: 5\nmodel\t\t: 9006\n";
        let power = cpuinfo(power).unwrap();
        assert_eq!((power[0].vendor, power[0].megahertz, power[0].model), ("POWER9", Some(2300.0), ""));
        let mips = cpuinfo("system type\t: UBNT\nprocessor\t: 0\ncpu model\t: Cavium\n").unwrap();
        assert_eq!((mips[0].vendor, mips[0].model_name), ("UBNT", "Cavium"));
    }

    #[test]
    fn what_is_no_number_is_named() {
        for text in ["processor\t: x\n", "processor\t: 0\ncpu MHz\t: fast\n"] {
            assert!(cpuinfo(text).unwrap_err().to_string().contains("expected"), "{text}");
        }
    }
}
