import { countItems } from './bounds.js';
import type { Value } from './values.js';

/** Variables of a block, a loop iteration or a macro, within those of the surrounding scope. */
export class Scope {
  private readonly variables = new Map<string, Value>();

  constructor(private readonly parent: Scope | null = null) {}

  get(name: string): Value | undefined {
    let value = this.variables.get(name);
    for (let scope = this.parent, depth = 1; value === undefined && scope !== null; scope = scope.parent, depth++) {
      value = scope.variables.get(name);
      if (depth > 8) countItems(1);
    }
    return value;
  }

  set(name: string, value: Value): void {
    this.variables.set(name, value);
  }
}
