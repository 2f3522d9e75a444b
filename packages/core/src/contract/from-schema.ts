import type { Json, JsonSchema } from './json.js';

interface TypeOfName {
  string: string;
  number: number;
  integer: number;
  boolean: boolean;
  null: null;
}

/** `complete`: after validation, which sets defaults. `written`: as a configuration may write the value. */
type Form = 'complete' | 'written';

type OfName<S, Name, F extends Form> = Name extends keyof TypeOfName
  ? TypeOfName[Name]
  : Name extends 'array'
    ? S extends { readonly items: infer Item }
      ? readonly OfSchema<Item, F>[]
      : readonly Json[]
    : Name extends 'object'
      ? OfObject<S, F>
      : Json;

type WithDefault<P> = { [K in keyof P]: P[K] extends { readonly default: unknown } ? K : never }[keyof P];
type Required<S> = S extends { readonly required: readonly (infer R)[] } ? R : never;

/** The keys that are always present: those that are required, and after validation those with a default. */
type Present<S, P, F extends Form> = F extends 'complete'
  ? Required<S> | WithDefault<P>
  : Exclude<Required<S>, WithDefault<P>>;

type OfObject<S, F extends Form> = S extends { readonly properties: infer P }
  ? { readonly [K in keyof P as K extends Present<S, P, F> ? K : never]: OfSchema<P[K], F> } & {
      readonly [K in keyof P as K extends Present<S, P, F> ? never : K]?: OfSchema<P[K], F>;
    }
  : S extends { readonly additionalProperties: infer Value extends object }
    ? Readonly<Record<string, OfSchema<Value, F>>>
    : Readonly<Record<string, Json>>;

type OfSchema<S, F extends Form> = S extends { readonly const: infer Constant }
  ? Constant
  : S extends { readonly enum: readonly (infer Member)[] }
    ? Member
    : S extends { readonly type: readonly (infer Name)[] }
      ? Name extends unknown
        ? OfName<S, Name, F>
        : never
      : S extends { readonly type: infer Name }
        ? OfName<S, Name, F>
        : S extends { readonly anyOf: readonly (infer Member)[] } | { readonly oneOf: readonly (infer Member)[] }
          ? Member extends unknown
            ? OfSchema<Member, F>
            : never
          : Json;

/**
 * The type of the values that match a JSON Schema, after defaults have been applied. Supported keywords: `type`,
 * `enum`, `const`, `properties`, `required`, `default`, `items`, `additionalProperties`, `anyOf` and `oneOf`. A schema
 * without any of them has the type {@link Json}.
 */
export type FromSchema<S> = OfSchema<S, 'complete'>;

/** The type of the options that a configuration may write: {@link FromSchema} with optional keys for defaults. */
export type WrittenOptions<S> = OfSchema<S, 'written'>;

/** The type of the defaults of an object schema: the values of the keys that have a default. */
type DefaultsOf<S> = S extends { readonly properties: infer P }
  ? { readonly [K in keyof P as P[K] extends { readonly default: unknown } ? K : never]: FromSchema<P[K]> }
  : Readonly<Record<string, Json>>;

const isObject = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const schemaAt = (schema: unknown, key: string): unknown => (isObject(schema) ? schema[key] : undefined);

/** Returns a copy of a value in which absent keys have the defaults of the schema, at every depth. */
function complete(value: unknown, schema: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => complete(item, schemaAt(schema, 'items')));
  if (!isObject(value)) return value;
  const properties = schemaAt(schema, 'properties');
  const completed: Record<string, unknown> = {};
  for (const [key, property] of isObject(properties) ? Object.entries(properties) : []) {
    const given = key in value ? value[key] : schemaAt(property, 'default');
    if (given !== undefined) completed[key] = complete(given, property);
  }
  for (const [key, given] of Object.entries(value))
    if (!(key in completed)) completed[key] = complete(given, schemaAt(schema, 'additionalProperties'));
  return completed;
}

/**
 * Returns the defaults of an object schema, the same values that validation fills in: those of its keys, and in a
 * default that is an object, those of its own keys. Keys without a default are absent. Each call returns a new object.
 *
 * ```ts
 * const options = { ...defaultsOf(configSchema), ...given };
 * ```
 */
export const defaultsOf = <const S extends JsonSchema>(schema: S): DefaultsOf<S> =>
  complete({}, schema) as DefaultsOf<S>;
