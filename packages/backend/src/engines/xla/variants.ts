import { WhetstoneError } from '@whetstone/core/contract';
import type { Program } from '../../recorder/program.js';
import type { Describe, Executable } from '../engine.js';
import type { LoadedExecutable, ModuleMemory, XlaClient } from './client.js';
import type { DeviceTensor, DeviceTensors } from './device-tensors.js';
import type { ModuleLoader } from './modules.js';
import { lower, type LoweredModule } from './stablehlo/lower.js';

/** A program for certain shapes, compiled or about to be. */
export interface Variant {
  readonly module: LoweredModule;
  /** For the compiler's errors: held no longer than needed, because it holds the recording. */
  describe: Describe | null;
  readonly name: string;
  loaded: LoadedExecutable | null;
  memory: ModuleMemory | null;
  /** Queued runs. */
  uses: number;
  /** Whether nobody will ask for it again. */
  dropped: boolean;
}

export interface XlaExecutable extends Executable {
  /** Which inputs' contents earlier variants depend on: nearly always one list for all. */
  readonly fixedLists: (readonly number[])[];
  readonly variants: Map<string, Variant>;
}

const sameList = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((item, position) => item === b[position]);

const linePattern = /(?:^|\n)[^\n:]*:(\d+):\d+: error/;

/** The modules of all programs, the ones used longest ago thrown out. */
export class Variants {
  /** In the order of their last use, with what forgets them. */
  private readonly recent = new Map<Variant, () => void>();

  constructor(
    private readonly client: XlaClient,
    private readonly tensors: DeviceTensors,
    private readonly modules: ModuleLoader,
    private readonly most: number,
    private readonly devices: number,
  ) {}

  /** How many there ever were: each is compiled, or was found on disk. */
  made = 0;

  get size(): number {
    return this.recent.size;
  }

  executable(program: Program): XlaExecutable {
    const variants = new Map<string, Variant>();
    const dispose = (): void => {
      for (const variant of variants.values()) this.drop(variant);
      variants.clear();
    };
    return { program, fixedLists: [], variants, dispose };
  }

  /** The variant for these inputs; lowered, but not compiled, where there was none. `spent` are the inputs whose memory results may take. */
  find(executable: XlaExecutable, inputs: readonly DeviceTensor[], spent: ReadonlySet<number>, describe: Describe): Variant {
    for (const fixed of executable.fixedLists) {
      const found = executable.variants.get(this.keyOf(inputs, fixed));
      if (found !== undefined && sameList(found.module.fixed, fixed)) return this.touch(executable, found);
    }
    const module = lower(executable.program, inputs, describe, { spent, replicas: this.devices, onProcessor: this.client.platform === 'cpu' });
    const made: Variant = { module, describe, name: executable.program.name, loaded: null, memory: null, uses: 0, dropped: false };
    this.made++;
    const { fixed } = module;
    if (!executable.fixedLists.some((list) => sameList(list, fixed))) executable.fixedLists.push(fixed);
    executable.variants.set(this.keyOf(inputs, fixed), made);
    return this.touch(executable, made);
  }

  /** Makes a variant ready to run. Throws what the compiler says, with the operation that it means. */
  load(variant: Variant): LoadedExecutable {
    if (variant.loaded !== null) return variant.loaded;
    try {
      return this.loaded(variant, this.modules.load(variant.module, `Compiling ${variant.name}`));
    } catch (error) {
      throw named(variant, error);
    }
  }

  /** The same without blocking the event loop. */
  async loadLater(variant: Variant): Promise<void> {
    if (variant.loaded !== null) return;
    try {
      const loaded = await this.modules.loadLater(variant.module, `Compiling ${variant.name}`);
      // Somebody who could not wait may have made it meanwhile.
      if (variant.loaded === null) this.loaded(variant, loaded);
      else this.client.dispose(loaded);
    } catch (error) {
      throw named(variant, error);
    }
  }

  /** A queued run of a variant was handed over or given up. */
  used(variant: Variant): void {
    variant.uses--;
    if (variant.dropped) this.free(variant);
  }

  dispose(): void {
    for (const variant of this.recent.keys()) this.drop(variant);
  }

  private loaded(variant: Variant, loaded: LoadedExecutable): LoadedExecutable {
    variant.loaded = loaded;
    variant.memory = this.client.memoryOf(loaded);
    variant.describe = null;
    if (variant.dropped) this.free(variant);
    return loaded;
  }

  private touch(executable: XlaExecutable, variant: Variant): Variant {
    this.recent.delete(variant);
    this.recent.set(variant, () => {
      for (const [key, kept] of executable.variants) if (kept === variant) executable.variants.delete(key);
    });
    for (const [oldest, forget] of this.recent) {
      if (this.recent.size <= this.most) break;
      forget();
      this.drop(oldest);
    }
    return variant;
  }

  private drop(variant: Variant): void {
    if (!this.recent.delete(variant)) return;
    variant.dropped = true;
    this.free(variant);
  }

  private free(variant: Variant): void {
    if (variant.uses > 0 || variant.loaded === null) return;
    this.client.dispose(variant.loaded);
    variant.loaded = null;
  }

  private keyOf(inputs: readonly DeviceTensor[], fixed: readonly number[]): string {
    let key = '';
    for (const { signature } of inputs) key += `${signature},`;
    for (const number of fixed) key += `;${this.tensors.contentOf(inputs[number] as DeviceTensor)}`;
    return key;
  }
}

/** An error of the compiler's, with the operation whose line it names. */
function named({ module, describe }: Variant, error: unknown): unknown {
  if (!(error instanceof WhetstoneError)) return error;
  const line = linePattern.exec(String(error.details['xlaMessage'] ?? ''))?.[1];
  const step = line === undefined ? null : module.stepOfLine(Number(line));
  if (step === null || describe === null) return error;
  return new WhetstoneError('BACKEND_FAILED', `${describe(step)}: ${error.message}`, { cause: error, details: { ...error.details, operation: describe(step), line: module.text.split('\n')[Number(line) - 1] ?? '' } });
}
