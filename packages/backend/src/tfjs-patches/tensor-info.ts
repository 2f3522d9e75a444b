import { engine } from '@tensorflow/tfjs-core';
import { Value, type TensorInfoEntry } from '../recorder/value.js';

type State = ReturnType<typeof engine>['state'];
type Table = State['tensorInfo'];
type DataKey = Parameters<Table['get']>[0];

/** tfjs-core's table of data, with the entries of our values kept in the values themselves. */
class InfoTable implements Table {
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
 * Has tfjs-core keep what it knows of our values in them. Its own table is a WeakMap with an entry for every
 * intermediate result, thousands a step, which cost a tenth of the time that recording takes: entries are made and
 * deleted by hash, and every collection of young objects goes through them.
 */
export function storeTensorInfoInValues(): void {
  const { state } = engine();
  if (!(state.tensorInfo instanceof InfoTable)) state.tensorInfo = new InfoTable(state.tensorInfo);
}
