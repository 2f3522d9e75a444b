import type { PhysicalType } from '../recorder/types.js';

/** An attribute of an engine op, tagged with its kind, as TensorFlow's C API sets each kind by another function. */
export type Attribute =
  | { readonly kind: 'bool'; readonly value: boolean }
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'type'; readonly value: PhysicalType }
  /** A shape of which nothing is known. */
  | { readonly kind: 'any-shape' };

export type Attributes = Readonly<Record<string, Attribute>>;

export const flag = (value: boolean): Attribute => ({ kind: 'bool', value });
export const int = (value: number): Attribute => ({ kind: 'int', value });
export const float = (value: number): Attribute => ({ kind: 'float', value });
export const text = (value: string): Attribute => ({ kind: 'string', value });
export const type = (value: PhysicalType): Attribute => ({ kind: 'type', value });
export const anyShape: Attribute = { kind: 'any-shape' };
