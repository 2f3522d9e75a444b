import { bind } from './arguments.js';
import { callable, equals, flag, integer, tuple, undefinedValue, type Native, type Value } from './values.js';

/** What the iterations of a loop share. */
export interface LoopState {
  readonly items: readonly Value[];
  readonly depth: number;
  /** The values of the latest call of `loop.changed`. */
  changed: Value | null;
  /** Runs the loop again for other items; null unless the loop is recursive. */
  readonly recurse: ((items: Value, depth: number) => Value) | null;
}

/** Creates Jinja's `loop` variable of an iteration. */
export function loopVariable(state: LoopState, index: number): Value {
  const { items, depth, recurse } = state;
  const call: Native = (args) => {
    if (recurse === null) throw new Error("The loop must have the 'recursive' marker to be called recursively.");
    return recurse(bind('loop', args, 'iterable').need('iterable'), depth + 1);
  };
  return {
    type: 'object',
    value: null,
    label: 'LoopContext',
    text: () => `<LoopContext ${index + 1}/${items.length}>`,
    call,
    attribute: (name) => attribute(state, index, name),
  };
}

function attribute(state: LoopState, index: number, name: string): Value | undefined {
  const { items, depth } = state;
  switch (name) {
    case 'index':
      return integer(index + 1);
    case 'index0':
      return integer(index);
    case 'revindex':
      return integer(items.length - index);
    case 'revindex0':
      return integer(items.length - index - 1);
    case 'first':
      return flag(index === 0);
    case 'last':
      return flag(index === items.length - 1);
    case 'length':
      return integer(items.length);
    case 'depth':
      return integer(depth);
    case 'depth0':
      return integer(depth - 1);
    case 'previtem':
      return items[index - 1] ?? undefinedValue('there is no previous item');
    case 'nextitem':
      return items[index + 1] ?? undefinedValue('there is no next item');
    case 'cycle':
      return callable('cycle', ({ positional }) => {
        const value = positional[index % Math.max(1, positional.length)];
        if (value === undefined) throw new Error('no items for cycling given');
        return value;
      });
    case 'changed':
      return callable('changed', ({ positional }) => {
        const now = tuple(positional);
        const differs = state.changed === null || !equals(state.changed, now);
        if (differs) state.changed = now;
        return flag(differs);
      });
    default:
      return undefined;
  }
}
