import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import type { Program } from '../../recorder/program.js';
import type { Describe, Executable } from '../engine.js';
import type { XlaClient } from './client.js';
import type { DeviceTensor, DeviceTensors } from './device-tensors.js';
import type { ModuleLoader } from './modules.js';
import { lowerProgram, peakBytes, type LoweredProgram, type Module } from './lowered-program.js';

/** A program for certain shapes. Its modules are compiled later. */
export interface Variant extends LoweredProgram {
  /** Describes operations in compiler errors. Null after compilation, because it holds the recording. */
  describe: Describe | null;
  readonly name: string;
  /** Whether every module is ready to run. */
  loaded: boolean;
  /** Peak memory of a run without its inputs; 0 if the plugin does not report it. */
  bytes: number;
  /** Number of queued runs. */
  uses: number;
  /** Whether it was evicted or its executable disposed. */
  dropped: boolean;
}

export interface XlaExecutable extends Executable {
  /** The lists of inputs whose values are part of a variant. Nearly always all variants share one list. */
  readonly fixedLists: (readonly number[])[];
  readonly variants: Map<string, Variant>;
}

const sameList = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((item, position) => item === b[position]);

const linePattern = /(?:^|\n)[^\n:]*:(\d+):\d+: error/;

/** The variants of all programs. Beyond a limit, the least recently used one is evicted. */
export class Variants {
  /** In order of last use, each with a function that removes it from its executable. */
  private readonly recent = new Map<Variant, () => void>();

  constructor(
    private readonly client: XlaClient,
    private readonly tensors: DeviceTensors,
    private readonly modules: ModuleLoader,
    private readonly maxVariants: number,
    private readonly devices: number,
  ) {}

  /** Number of variants that were ever created. */
  count = 0;

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
   * Returns the variant for these inputs. A new one is lowered, but not compiled.
   *
   * @param spent inputs whose memory results may reuse
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
    const lowered = lowerProgram(executable.program, inputs, describe, {
      spent,
      replicas: this.devices,
      onProcessor: this.client.platform === 'cpu',
    });
    const variant: Variant = {
      ...lowered,
      describe,
      name: executable.program.name,
      loaded: false,
      bytes: 0,
      uses: 0,
      dropped: false,
    };
    this.count++;
    const { fixed } = variant;
    if (!executable.fixedLists.some((list) => sameList(list, fixed))) executable.fixedLists.push(fixed);
    executable.variants.set(this.keyOf(inputs, fixed), variant);
    return this.touch(executable, variant);
  }

  /**
   * Compiles the variant's modules or loads them from disk.
   *
   * @throws the compiler's error with the operation that it is about
   */
  load(variant: Variant): void {
    if (variant.loaded) return;
    for (const module of variant.modules) {
      if (module.loaded !== null) continue;
      try {
        module.loaded = this.modules.load(module.lowered, `Compiling ${variant.name}`);
      } catch (error) {
        throw withOperation(variant, module, error);
      }
    }
    this.allLoaded(variant);
  }

  /** Like `load`, without blocking the event loop. Modules are compiled concurrently. */
  async loadLater(variant: Variant): Promise<void> {
    if (variant.loaded) return;
    const loading = variant.modules.map(async (module) => {
      if (module.loaded !== null) return;
      try {
        const loaded = await this.modules.loadLater(module.lowered, `Compiling ${variant.name}`);
        // A synchronous read may have compiled it meanwhile.
        if (module.loaded === null && !variant.loaded) module.loaded = loaded;
        else this.client.dispose(loaded);
      } catch (error) {
        throw withOperation(variant, module, error);
      }
    });
    const failed = (await Promise.allSettled(loading)).find((one) => one.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    this.allLoaded(variant);
  }

  /** Unregisters a queued run of the variant. */
  endUse(variant: Variant): void {
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
    variant.bytes = peakBytes(variant);
    variant.describe = null;
    if (variant.dropped) this.free(variant);
  }

  private touch(executable: XlaExecutable, variant: Variant): Variant {
    this.recent.delete(variant);
    this.recent.set(variant, () => {
      for (const [key, other] of executable.variants) if (other === variant) executable.variants.delete(key);
    });
    for (const [oldest, forget] of this.recent) {
      if (this.recent.size <= this.maxVariants) break;
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

/** Returns a compiler's error with the operation of the line that it names. */
function withOperation({ describe }: Variant, { lowered, firstStep }: Module, error: unknown): unknown {
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
