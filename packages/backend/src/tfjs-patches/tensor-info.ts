import { engine } from '@tensorflow/tfjs-core';
import { Value, type TensorInfoEntry } from '../recorder/value.js';

type State = ReturnType<typeof engine>['state'];
type Table = State['tensorInfo'];
type DataKey = Parameters<Table['get']>[0];

/** Replaces tfjs-core's table of data records. Records of {@link Value}s are stored in the values. */
class TensorInfoTable implements Table {
  readonly [Symbol.toStringTag] = 'WeakMap';

  constructor(private readonly others: Table) {}

  get(data: DataKey): TensorInfoEntry | undefined {
    return data instanceof Value && data.tensorInfo !== null ? data.tensorInfo : this.others.get(data);
  }

  has(data: DataKey): boolean {
    return (data instanceof Value && data.tensorInfo !== null) || this.others.has(data);
  }

  set(data: DataKey, entry: TensorInfoEntry): this {
    if (data instanceof Value) data.tensorInfo = entry;
    else this.others.set(data, entry);
    return this;
  }

  delete(data: DataKey): boolean {
    if (!(data instanceof Value) || data.tensorInfo === null) return this.others.delete(data);
    data.tensorInfo = null;
    return true;
  }
}

/**
 * Makes tfjs-core store its records of Whetstone values in the values. Its own table is a WeakMap with an entry for
 * each of the thousands of intermediate results of a step. That takes a tenth of the recording time: entries are found
 * by hash, and each minor garbage collection visits all of them.
 */
export function storeTensorInfoInValues(): void {
  const { state } = engine();
  if (!(state.tensorInfo instanceof TensorInfoTable)) state.tensorInfo = new TensorInfoTable(state.tensorInfo);
}
