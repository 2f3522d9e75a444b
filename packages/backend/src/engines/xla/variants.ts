import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import type { Program } from '../../recorder/program.js';
import type { Describe, Executable } from '../engine.js';
import type { XlaClient } from './client.js';
import type { DeviceTensor, DeviceTensors } from './device-tensors.js';
import type { ModuleLoader } from './modules.js';
import { bytesOf, stagesOf, type Module, type Stages } from './stages.js';

/** A program for certain shapes, compiled or about to be. */
export interface Variant extends Stages {
  /** For the compiler's errors: held no longer than needed, because it holds the recording. */
  describe: Describe | null;
  readonly name: string;
  /** Whether every module is ready to run. */
  loaded: boolean;
  /** What a run takes besides its inputs, where the plugin says so. */
  bytes: number;
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

const sameList = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((item, position) => item === b[position]);

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

  /**
   * The variant for these inputs; lowered, but not compiled, where there was none. `spent` are the inputs whose memory
   * results may take.
   */
  find(
    executable: XlaExecutable,
    inputs: readonly DeviceTensor[],
    spent: ReadonlySet<number>,
    describe: Describe,
  ): Variant {
    for (const fixed of executable.fixedLists) {
      const found = executable.variants.get(this.keyOf(inputs, fixed));
      if (found !== undefined && sameList(found.fixed, fixed)) return this.touch(executable, found);
    }
    const stages = stagesOf(executable.program, inputs, describe, {
      spent,
      replicas: this.devices,
      onProcessor: this.client.platform === 'cpu',
    });
    const made: Variant = {
      ...stages,
      describe,
      name: executable.program.name,
      loaded: false,
      bytes: 0,
      uses: 0,
      dropped: false,
    };
    this.made++;
    const { fixed } = made;
    if (!executable.fixedLists.some((list) => sameList(list, fixed))) executable.fixedLists.push(fixed);
    executable.variants.set(this.keyOf(inputs, fixed), made);
    return this.touch(executable, made);
  }

  /** Makes a variant ready to run. Throws what the compiler says, with the operation that it means. */
  load(variant: Variant): void {
    if (variant.loaded) return;
    for (const module of variant.modules) {
      if (module.loaded !== null) continue;
      try {
        module.loaded = this.modules.load(module.lowered, `Compiling ${variant.name}`);
      } catch (error) {
        throw named(variant, module, error);
      }
    }
    this.allLoaded(variant);
  }

  /** The same without blocking the event loop, several modules at once. */
  async loadLater(variant: Variant): Promise<void> {
    if (variant.loaded) return;
    const loading = variant.modules.map(async (module) => {
      if (module.loaded !== null) return;
      try {
        const loaded = await this.modules.loadLater(module.lowered, `Compiling ${variant.name}`);
        // Somebody who could not wait may have made it meanwhile.
        if (module.loaded === null && !variant.loaded) module.loaded = loaded;
        else this.client.dispose(loaded);
      } catch (error) {
        throw named(variant, module, error);
      }
    });
    const failed = (await Promise.allSettled(loading)).find((one) => one.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    this.allLoaded(variant);
  }

  /** A queued run of a variant was handed over or given up. */
  used(variant: Variant): void {
    variant.uses--;
    if (variant.dropped) this.free(variant);
  }

  dispose(): void {
    for (const variant of this.recent.keys()) this.drop(variant);
  }

  private allLoaded(variant: Variant): void {
    if (variant.loaded) return;
    variant.loaded = true;
    for (const module of variant.modules)
      module.memory = module.loaded === null ? null : this.client.memoryOf(module.loaded);
    variant.bytes = bytesOf(variant);
    variant.describe = null;
    if (variant.dropped) this.free(variant);
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
    if (variant.uses > 0) return;
    for (const module of variant.modules) {
      if (module.loaded !== null) this.client.dispose(module.loaded);
      module.loaded = null;
    }
    variant.loaded = false;
  }

  private keyOf(inputs: readonly DeviceTensor[], fixed: readonly number[]): string {
    let key = '';
    for (const { signature } of inputs) key += `${signature},`;
    for (const number of fixed) key += `;${this.tensors.contentOf(inputs[number] as DeviceTensor)}`;
    return key;
  }
}

/** An error of the compiler's, with the operation whose line it names. */
function named({ describe }: Variant, { lowered, firstStep }: Module, error: unknown): unknown {
  if (!isWhetstoneError(error)) return error;
  const line = linePattern.exec(String(error.details['xlaMessage'] ?? ''))?.[1];
  const step = line === undefined ? null : lowered.stepOfLine(Number(line));
  if (step === null || describe === null) return error;
  return WhetstoneError.with(error, {
    message: `${describe(firstStep + step)}: ${error.message}`,
    cause: error,
    details: {
      ...error.details,
      operation: describe(firstStep + step),
      line: lowered.text.split('\n')[Number(line) - 1] ?? '',
    },
  });
}
