import type { EngineTensor } from '../engines/engine.js';
import type { RecordedGraph } from './graph.js';
import type { Recorder } from './recorder.js';
import { Value } from './value.js';

/** Where an input of a graph comes from: an input of the replay, a result of an earlier graph, or a constant. */
type Source =
  | { readonly input: number }
  | { readonly graph: number; readonly output: number }
  | { readonly constant: Value };

/**
 * A recorded computation that is repeated with other inputs of the same shapes. Nothing is recorded again: the host
 * only passes tensors to the compiled graphs. Every other tensor that the computation used, such as a weight, is a
 * constant.
 */
export class Replay {
  private readonly sources: readonly (readonly Source[])[];
  private readonly results: readonly Source[];
  private readonly generation: number;
  private readonly graphs: readonly RecordedGraph[];
  /** Constants of which nothing else holds a reference. */
  private readonly owned: ReadonlySet<Value>;

  /** @param outputs results of the computation that the recorder captured */
  constructor(
    private readonly recorder: Recorder,
    { graphs, held }: ReturnType<Recorder['capture']>,
    inputs: readonly Value[],
    outputs: readonly Value[],
  ) {
    this.graphs = graphs;
    this.generation = recorder.operands.generation;
    const known = new Map<Value, Source>(inputs.map((value, input) => [value, { input }]));
    const sourceOf = (value: Value): Source => known.get(value) ?? { constant: value };
    this.sources = graphs.map((graph, index) => {
      const sources = graph.inputs.map(sourceOf);
      graph.outputs.forEach((value, output) => known.set(value, { graph: index, output }));
      return sources;
    });
    this.results = outputs.map(sourceOf);
    const constants = this.constants();
    this.owned = new Set([...held].filter((value) => constants.has(value)));
    for (const value of constants) if (!held.has(value)) value.references++;
    for (const value of held) if (!constants.has(value)) this.release(value);
  }

  /**
   * Runs the computation. Returns null if it must be recorded again: its graphs are not compiled yet, or no longer.
   *
   * @param consumed the number of last inputs whose memory results may use; the caller must not read them afterwards
   * @returns the results, and how many of them are new values
   */
  run(
    inputs: readonly Value[],
    consumed: number,
  ): { readonly results: readonly Value[]; readonly made: number } | null {
    const { recorder, graphs } = this;
    if (this.generation !== recorder.operands.generation) return null;
    if (graphs.some((graph) => recorder.runner.programs.find(graph) === null)) return null;
    recorder.flush();
    const computed: Value[][] = [];
    const valueOf = (source: Source): Value => {
      if ('constant' in source) return source.constant;
      const value = 'input' in source ? inputs[source.input] : computed[source.graph]?.[source.output];
      return value as Value;
    };
    for (const [index, graph] of graphs.entries()) {
      const sources = this.sources[index] ?? [];
      const tensors = sources.map((source) => recorder.materialise(valueOf(source)));
      const isConsumed = (source: Source): boolean => 'input' in source && source.input >= inputs.length - consumed;
      const made = recorder.runner.rerun(graph, tensors, {
        positions: sources.flatMap((source, position) => (isConsumed(source) ? [position] : [])),
        release: () => sources.filter(isConsumed).forEach((source) => recorder.memory.release(valueOf(source))),
      });
      computed.push(graph.outputs.map((output, position) => this.adopt(output, made[position] as EngineTensor)));
    }
    const results = this.results.map(valueOf);
    // The references of results that are inputs or constants, or that occur twice, are counted as those of a clone are.
    for (const value of results) value.references++;
    const made = computed.flat();
    for (const value of made) if (--value.references === 0) recorder.dispose(value);
    return { results, made: made.filter(({ disposed }) => !disposed).length };
  }

  /** Returns a value like `model` that owns a tensor. */
  private adopt({ shape, dtype, storageDtype }: Value, tensor: EngineTensor): Value {
    const value = new Value(shape, dtype, storageDtype);
    this.recorder.memory.adopt(value, tensor);
    return value;
  }

  /** Releases the constants: those that tfjs-core may still hold by `disposeData`. */
  dispose(disposeData: (value: Value) => void): void {
    for (const value of this.constants()) {
      if (this.owned.has(value)) this.release(value);
      else if (!value.disposed) disposeData(value);
    }
  }

  private release(value: Value): void {
    value.references = 0;
    this.recorder.dispose(value);
  }

  private constants(): ReadonlySet<Value> {
    return new Set(
      [...this.sources.flat(), ...this.results].flatMap((source) => ('constant' in source ? [source.constant] : [])),
    );
  }
}
