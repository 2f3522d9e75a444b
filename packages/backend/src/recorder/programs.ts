import type { Engine, Executable } from '../engines/engine.js';
import { describeNode, type Cut } from './graph.js';
import type { HostOperands } from './host-operands.js';
import { recomputeCheap } from './recompute.js';
import type { Program, Step } from './program.js';
import type { PhysicalType } from './types.js';
import type { Value } from './value.js';

/**
 * Which host operands of a structure share one input. Operands that were equal when the structure was compiled share
 * one; should they differ in a later graph (two lengths that happened to be equal), the classes are split and the
 * structure is compiled once more.
 */
interface HostClasses {
  readonly classOf: Int32Array;
  /** First operand of each class. */
  readonly representatives: readonly number[];
}

interface Entry {
  readonly structure: Int32Array;
  classes: HostClasses;
  executable: Executable;
  steps: number;
}

function sameWords(a: Int32Array, b: Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}

/** Which operand of which kernel each host operand is: -1 for a value of tfjs's. */
function rolesOf({ nodes, host }: Pick<Cut, 'nodes' | 'host'>): Int32Array {
  const roles = new Int32Array(host.length).fill(-1);
  let occurrence = 0;
  for (const node of nodes) {
    for (const input of node.inputs) if (input.node === null && input.host !== null) occurrence++;
    for (let index = 0; index < node.host.length; index++) roles[occurrence++] = MOST_OPERANDS * node.kernelId + index;
  }
  return roles;
}

const MOST_OPERANDS = 1024;

/**
 * Classes that respect these operands and the classes there were, as coarse as makes sense: host values share one only
 * with themselves, and operands only where they are the same operand of the same kernel. Others are equal by chance,
 * and would come apart in a graph of other lengths.
 */
export function classify(cut: Pick<Cut, 'nodes' | 'host' | 'hostValues'>, before: HostClasses | null): HostClasses {
  const { host, hostValues } = cut;
  const roles = before === null ? rolesOf(cut) : null;
  const numbers = new Map<unknown, number>();
  const classOf = new Int32Array(host.length);
  const representatives: number[] = [];
  host.forEach((id, occurrence) => {
    const key =
      roles === null
        ? `${before?.classOf[occurrence]}:${id}`
        : (hostValues.get(occurrence) ?? `${roles[occurrence]}:${id}`);
    let number = numbers.get(key);
    if (number === undefined) {
      number = representatives.length;
      numbers.set(key, number);
      representatives.push(occurrence);
    }
    classOf[occurrence] = number;
  });
  return { classOf, representatives };
}

/** Whether operands that share a class are equal in this graph too. */
function fits(host: Int32Array, classes: HostClasses): boolean {
  const { classOf, representatives } = classes;
  for (let occurrence = 0; occurrence < host.length; occurrence++) {
    if (host[occurrence] !== host[representatives[classOf[occurrence] ?? 0] ?? 0]) return false;
  }
  return true;
}

/** Spells a cut as a program: its inputs are the cut's inputs, then one for each class of host operands. */
export function toProgram(cut: Cut, classes: HostClasses, operands: HostOperands, name: string): Program {
  const inputTypes: PhysicalType[] = [
    ...cut.inputs.map((input) => input.type),
    ...classes.representatives.map((occurrence) => operands.typeOf(cut.host[occurrence] ?? 0)),
  ];
  const types = [...inputTypes];
  const firstHost = cut.inputs.length;
  const firstResult = inputTypes.length;
  let occurrence = 0;
  const steps = cut.nodes.map((node): Step => {
    const nextHost = (): number => firstHost + (classes.classOf[occurrence++] ?? 0);
    const inputs = node.inputs.map((input) => {
      if (input.node !== null) return firstResult + input.node.firstOutput + input.outputIndex;
      return input.host === null ? input.slot : nextHost();
    });
    for (let index = 0; index < node.host.length; index++) inputs.push(nextHost());
    for (const output of node.outputs) types.push(output.type);
    return {
      kernel: node.kernel,
      parameters: node.parameters,
      inputs,
      tensorInputs: node.inputs.length,
      firstOutput: firstResult + node.firstOutput,
      outputs: node.outputs.length,
    };
  });
  const outputs = cut.outputs.map((output) => firstResult + (output.node?.firstOutput ?? 0) + output.outputIndex);
  return { name, matmul: cut.matmul, sideBySide: cut.sideBySide, inputTypes, steps, types, outputs };
}

/** A bounded map whose first entry is the one used longest ago. */
class Recent<V> {
  private readonly items = new Map<number, V>();

  get(key: number): V | undefined {
    const value = this.items.get(key);
    if (value !== undefined) {
      this.items.delete(key);
      this.items.set(key, value);
    }
    return value;
  }

  set(key: number, value: V): void {
    this.items.set(key, value);
  }

  delete(key: number): void {
    this.items.delete(key);
  }

  clear(): void {
    this.items.clear();
  }

  oldest(): [number, V] | undefined {
    return this.items.entries().next().value;
  }

  values(): Iterable<V> {
    return this.items.values();
  }
}

/**
 * Bytes of results from which on memory is dearer than time: gradients of all weights of a model, beside which the
 * weights and their moments lie. Whether something is computed again changes no bit.
 */
const MANY_BYTES = 2 ** 28;

const bytesOf = (values: readonly Value[]): number => values.reduce((sum, { bytes }) => sum + bytes, 0);

export interface ProgramCacheOptions {
  /** Most executables kept. */
  readonly capacity?: number;
  /** Most operations in all executables together. */
  readonly capacitySteps?: number;
}

/** Executables by structure, the ones used longest ago thrown out. */
export class ProgramCache {
  private readonly entries = new Recent<Entry[]>();
  private readonly sightings = new Map<number, number>();
  private count = 0;
  private steps = 0;
  /** Programs made so far: their names. */
  private made = 0;

  constructor(
    private readonly engine: Engine,
    private readonly operands: HostOperands,
    private readonly options: ProgramCacheOptions = {},
  ) {}

  /** How often this structure was seen before; counts this time. */
  seen(cut: Cut): number {
    const before = this.sightings.get(cut.hash) ?? 0;
    if (this.sightings.size > 65_536) this.sightings.clear();
    this.sightings.set(cut.hash, before + 1);
    return before;
  }

  /** The executable of this structure if it is there and fits. */
  find(cut: Cut): { executable: Executable; classes: HostClasses } | null {
    return (
      this.entries
        .get(cut.hash)
        ?.find((entry) => sameWords(entry.structure, cut.structure) && fits(cut.host, entry.classes)) ?? null
    );
  }

  /** Compiles this structure, or compiles it anew with finer classes. */
  compile(cut: Cut): { executable: Executable; classes: HostClasses } {
    const known = this.lookUp(cut);
    const classes = classify(cut, known?.classes ?? null);
    const whole = toProgram(cut, classes, this.operands, `graph ${this.made++}`);
    // Where shapes are static, the compiler decides what it keeps.
    const program = this.engine.staticShapes ? whole : recomputeCheap(whole, bytesOf(cut.outputs) >= MANY_BYTES);
    const executable = this.engine.compile(program, (step) =>
      describeNode(cut.nodes[program.positions?.[step] ?? step]),
    );
    if (known !== undefined && !this.engine.staticShapes) {
      known.executable.dispose();
      known.executable = executable;
      known.classes = classes;
      return known;
    }
    const entry: Entry = { structure: cut.structure, classes, executable, steps: cut.nodes.length };
    const bucket = this.entries.get(cut.hash);
    if (bucket === undefined) this.entries.set(cut.hash, [entry]);
    else bucket.push(entry);
    this.count++;
    this.steps += entry.steps;
    this.evict(entry);
    return entry;
  }

  get size(): number {
    return this.count;
  }

  clear(): void {
    for (const bucket of this.entries.values()) for (const entry of bucket) entry.executable.dispose();
    this.entries.clear();
    this.sightings.clear();
    this.count = 0;
    this.steps = 0;
  }

  private lookUp(cut: Cut): Entry | undefined {
    return this.entries.get(cut.hash)?.findLast((entry) => sameWords(entry.structure, cut.structure));
  }

  private evict(newest: Entry): void {
    const { capacity = 256, capacitySteps = 200_000 } = this.options;
    while (this.count > capacity || (this.steps > capacitySteps && this.count > 1)) {
      const oldest = this.entries.oldest();
      if (oldest === undefined || oldest[1].includes(newest)) return;
      this.entries.delete(oldest[0]);
      for (const entry of oldest[1]) {
        entry.executable.dispose();
        this.count--;
        this.steps -= entry.steps;
      }
    }
  }
}
