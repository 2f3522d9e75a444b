/**
 * A fair sample of all that is added, however much that is: what has the smallest priorities. The same whatever the
 * order, where no two priorities are equal.
 */
export interface BottomSample<T> {
  add(priority: number, value: T): void;
  /** What has this priority or a larger one cannot become part of the sample any more. */
  readonly below: number;
  /** The sample, by priority. */
  sample(): readonly Prioritised<T>[];
}

export interface Prioritised<T> {
  readonly priority: number;
  readonly value: T;
}

export function createBottomSample<T>(size: number): BottomSample<T> {
  let held: Prioritised<T>[] = [];
  let below = size === 0 ? -Infinity : Infinity;
  const trim = (): void => {
    held = held.sort((a, b) => a.priority - b.priority).slice(0, size);
    if (held.length === size) below = held.at(-1)?.priority ?? below;
  };
  return {
    add(priority, value) {
      if (priority >= below) return;
      held.push({ priority, value });
      if (held.length >= Math.max(2 * size, 64)) trim();
    },
    get below() {
      return below;
    },
    sample() {
      trim();
      return held;
    },
  };
}
