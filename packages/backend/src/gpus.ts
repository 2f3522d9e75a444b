import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytes } from '@whetstone/core/util';
import { presentAccelerators } from './engine-choice.js';
import { runCommand } from './install/python.js';

/** A GPU of this machine. */
export interface Gpu {
  readonly name: string;
  /** Its memory; null if the system does not report it. */
  readonly memoryBytes: number | null;
}

/** Returns GPUs in words: `NVIDIA H200 with 150.8 GB of memory`. */
export function describeGpus(gpus: readonly Gpu[]): string {
  const texts = gpus.map(({ name, memoryBytes }) =>
    memoryBytes === null ? name : `${name} with ${formatBytes(memoryBytes)} of memory`,
  );
  return [...new Set(texts)]
    .map((text) => {
      const count = texts.filter((other) => other === text).length;
      return count === 1 ? text : `${count} × ${text}`;
    })
    .join(', ');
}

/** How the GPUs of a machine are found. */
export interface GpuSources {
  /** The accelerators that the operating system reports; null if it cannot be asked. */
  accelerators(): readonly { readonly title: string }[] | null;
  /** The output of a command; null if it fails. */
  output(command: string, parameters: readonly string[]): Promise<string | null>;
  /** The text of a file; null if it cannot be read. */
  text(path: string): Promise<string | null>;
  /** The names in a folder; none if it cannot be read. */
  names(folder: string): Promise<readonly string[]>;
}

/** Time for nvidia-smi to answer. It takes seconds if no process holds the driver. */
const TIMEOUT_MILLISECONDS = 20_000;

const thisMachine: GpuSources = {
  accelerators: presentAccelerators,
  async output(command, parameters) {
    const { code, stdout } = await runCommand(command, parameters, { timeoutMilliseconds: TIMEOUT_MILLISECONDS });
    return code === 0 ? stdout : null;
  },
  text: (path) => readFile(path, 'utf8').catch(() => null),
  names: (folder) => readdir(folder).catch(() => []),
};

/** Returns the machine's GPUs from NVIDIA and AMD; null on systems other than Linux, where they are unknown. */
export async function presentGpus(sources: GpuSources = thisMachine): Promise<readonly Gpu[] | null> {
  const present = sources.accelerators();
  if (present === null) return null;
  const gpus = await Promise.all(
    present.map(async ({ title }) => {
      const found = /nvidia/i.test(title) ? await nvidiaGpus(sources) : await amdGpus(sources);
      return found.length > 0 ? found : [{ name: title, memoryBytes: null }];
    }),
  );
  return gpus.flat();
}

const NVIDIA_FOLDER = '/proc/driver/nvidia/gpus';

async function nvidiaGpus(sources: GpuSources): Promise<readonly Gpu[]> {
  const query = ['--query-gpu=name,memory.total', '--format=csv,noheader,nounits'];
  const lines = (await sources.output('nvidia-smi', query))?.trim().split('\n') ?? [];
  // One line per GPU, as `NVIDIA H200, 143771`: its memory in MiB, or `[N/A]`.
  const reported = lines.flatMap((line) => {
    const [, name, mebibytes = ''] = /^\s*(.+?)\s*,\s*([^,]*?)\s*$/.exec(line) ?? [];
    return name === undefined
      ? []
      : [{ name, memoryBytes: /^\d+$/.test(mebibytes) ? Number(mebibytes) * 2 ** 20 : null }];
  });
  if (reported.length > 0) return reported;
  const folders = await sources.names(NVIDIA_FOLDER);
  const texts = await Promise.all(folders.map((folder) => sources.text(join(NVIDIA_FOLDER, folder, 'information'))));
  return texts.flatMap((text) => {
    const name = /^Model:\s*(.+?)\s*$/m.exec(text ?? '')?.[1];
    return name === undefined ? [] : [{ name, memoryBytes: null }];
  });
}

const DRM_FOLDER = '/sys/class/drm';

async function amdGpus(sources: GpuSources): Promise<readonly Gpu[]> {
  const cards = (await sources.names(DRM_FOLDER)).filter((name) => /^card\d+$/.test(name));
  const found = await Promise.all(
    cards.map(async (card) => {
      const read = async (file: string): Promise<string> =>
        ((await sources.text(join(DRM_FOLDER, card, 'device', file))) ?? '').trim();
      // Only AMD's driver has this file.
      const memory = await read('mem_info_vram_total');
      const name = (await read('product_name')) || 'AMD GPU';
      return /^\d+$/.test(memory) ? [{ name, memoryBytes: Number(memory) }] : [];
    }),
  );
  return found.flat();
}
