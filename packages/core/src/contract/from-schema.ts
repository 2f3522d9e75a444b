import type { Json } from './json.js';

interface TypeOfName {
  string: string;
  number: number;
  integer: number;
  boolean: boolean;
  null: null;
}

type OfName<S, Name> = Name extends keyof TypeOfName
  ? TypeOfName[Name]
  : Name extends 'array'
    ? S extends { readonly items: infer Item }
      ? readonly FromSchema<Item>[]
      : readonly Json[]
    : Name extends 'object'
      ? OfObject<S>
      : Json;

/** The keys that are always present after validation: required keys and keys with a default. */
type Present<S, P> =
  | (S extends { readonly required: readonly (infer R)[] } ? R : never)
  | { [K in keyof P]: P[K] extends { readonly default: unknown } ? K : never }[keyof P];

type OfObject<S> = S extends { readonly properties: infer P }
  ? { readonly [K in keyof P as K extends Present<S, P> ? K : never]: FromSchema<P[K]> } & {
      readonly [K in keyof P as K extends Present<S, P> ? never : K]?: FromSchema<P[K]>;
    }
  : S extends { readonly additionalProperties: infer Value extends object }
    ? Readonly<Record<string, FromSchema<Value>>>
    : Readonly<Record<string, Json>>;

/**
 * The type of the values that match a JSON Schema, after defaults have been applied. Supported keywords: `type`,
 * `enum`, `const`, `properties`, `required`, `default`, `items`, `additionalProperties`, `anyOf` and `oneOf`. A schema
 * without any of them has the type {@link Json}.
 */
export type FromSchema<S> = S extends { readonly const: infer Constant }
  ? Constant
  : S extends { readonly enum: readonly (infer Member)[] }
    ? Member
    : S extends { readonly type: readonly (infer Name)[] }
      ? Name extends unknown
        ? OfName<S, Name>
        : never
      : S extends { readonly type: infer Name }
        ? OfName<S, Name>
        : S extends { readonly anyOf: readonly (infer Member)[] } | { readonly oneOf: readonly (infer Member)[] }
          ? Member extends unknown
            ? FromSchema<Member>
            : never
          : Json;
