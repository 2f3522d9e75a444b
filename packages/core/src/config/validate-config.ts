import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import { type JsonSchema, type Problem } from '../contract/index.js';
import { didYouMean, LruMap } from '../util/index.js';
import { formatPath, type Path } from './paths.js';
import { isObject, valueAt } from './slots.js';

/** A key that the schema does not define, with the keys that it defines in the same object. */
export interface UnknownKey {
  readonly path: Path;
  readonly key: string;
  readonly known: readonly string[];
}

export interface ConfigProblem extends Problem {
  readonly path: Path;
  readonly unknownKey?: UnknownKey;
}

/**
 * Creates the validator for all schemas of Whetstone. It collects all errors, fills in defaults and rejects unknown
 * keywords. Branches of a schema do not have to repeat types or properties.
 */
const createAjv = (): Ajv2020 =>
  new Ajv2020({
    allErrors: true,
    strict: true,
    strictTypes: false,
    strictTuples: false,
    strictRequired: false,
    useDefaults: true,
    verbose: true,
    validateFormats: false,
  });

let shared: Ajv2020 | undefined;
const compiled = new LruMap<string, ValidateFunction>();
const MOST_COMPILED = 200;

/**
 * Compiles a schema, which takes some milliseconds, or returns what an equal one was compiled to.
 *
 * @throws if the schema is not valid
 */
export function compileSchema(schema: JsonSchema): ValidateFunction {
  const text = JSON.stringify(schema);
  const known = compiled.get(text);
  if (known !== undefined) return known;
  // Ids must be unique in a validator.
  const ajv = text.includes('"$id"') ? createAjv() : (shared ??= createAjv());
  const validate = ajv.compile(schema);
  ajv.removeSchema(schema);
  compiled.set(text, validate);
  const [oldest] = compiled.oldest() ?? [];
  if (compiled.size > MOST_COMPILED && oldest !== undefined) compiled.delete(oldest);
  return validate;
}

/** Describes a value for a message: `3`, `"lora"`, `a list of 3`, `an object`. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (isObject(value)) return 'an object';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

const pathOf = (pointer: string): string[] =>
  pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
const list = (values: readonly unknown[]) => values.map((value) => JSON.stringify(value)).join(', ');
const typeNames: Readonly<Record<string, string>> = {
  integer: 'a whole number',
  number: 'a number',
  string: 'a string',
  boolean: 'true or false',
  null: 'null',
  array: 'a list',
  object: 'an object',
};

function expectedType(type: unknown): string {
  return (Array.isArray(type) ? type : [type]).map((name) => typeNames[String(name)] ?? String(name)).join(' or ');
}

const comparisons: Readonly<Record<string, string>> = {
  minimum: 'at least',
  maximum: 'at most',
  exclusiveMinimum: 'more than',
  exclusiveMaximum: 'less than',
};

/** Messages for a value that matches none, or several, of the alternatives of a schema. */
const alternativeMessages: Readonly<Record<'anyOf' | 'oneOf', string>> = {
  anyOf: 'The value does not match any of the allowed forms.',
  oneOf: 'The value does not match exactly one of the allowed forms.',
};

/** A validation error in the terms of the configuration. */
interface Violation {
  readonly path: Path;
  /** The value that violates the schema, described for a message. */
  readonly found: string;
  /** The schema that contains the violated keyword. */
  readonly schema: Readonly<Record<string, unknown>>;
  /** The parameters of the keyword, as Ajv reports them. */
  readonly params: Readonly<Record<string, unknown>>;
}

/** Describes a validation error for users. Returns undefined for errors that only repeat a more specific one. */
function explain(error: ErrorObject): ConfigProblem | undefined {
  const path = pathOf(error.instancePath);
  const found = describeValue(error.data);
  const params = error.params as Violation['params'];
  const violation = { path, found, schema: isObject(error.parentSchema) ? error.parentSchema : {}, params };
  switch (error.keyword) {
    case 'if':
      return undefined;
    case 'anyOf':
    case 'oneOf':
      return noAlternative(violation, error.keyword);
    case 'additionalProperties':
    case 'unevaluatedProperties':
      return unknownKey(violation);
    case 'required':
      return missingKey(violation);
    case 'type':
      return { path, message: 'The value has the wrong type.', expected: expectedType(params['type']), found };
    case 'enum':
      return notAllowed(violation, error.data);
    case 'const':
      return {
        path,
        message: 'The value is not the only allowed value.',
        expected: describeValue(params['allowedValue']),
        found,
      };
    case 'minLength':
      return {
        path,
        message: 'The text is too short.',
        expected: `at least ${String(params['limit'])} character(s)`,
        found,
      };
    default: {
      const comparison = comparisons[error.keyword];
      return comparison === undefined
        ? { path, message: `The value ${error.message ?? 'is not allowed'}.`, found }
        : { path, message: 'The number is out of range.', expected: `${comparison} ${String(params['limit'])}`, found };
    }
  }
}

function noAlternative({ path, found }: Violation, keyword: keyof typeof alternativeMessages): ConfigProblem {
  return {
    path,
    message: alternativeMessages[keyword],
    expected:
      keyword === 'oneOf' ? 'exactly one of the forms that the schema lists' : 'one of the forms that the schema lists',
    found,
  };
}

function unknownKey({ path, schema, params }: Violation): ConfigProblem {
  const key = String(params['additionalProperty'] ?? params['unevaluatedProperty']);
  const known = isObject(schema['properties']) ? Object.keys(schema['properties']) : [];
  return {
    path: [...path, key],
    message: `Unknown key '${key}'${inObject(path)}.`,
    hint: didYouMean(key, known) ?? (known.length > 0 ? `Known keys: ${known.join(', ')}.` : 'No key is allowed here.'),
    unknownKey: { path, key, known },
  };
}

function missingKey({ path, schema, params }: Violation): ConfigProblem {
  const key = String(params['missingProperty']);
  return {
    path: [...path, key],
    message: `'${key}' is missing${inObject(path)}.`,
    expected: describeExpected(schema, key),
    found: 'nothing',
  };
}

/** Describes a value that is not one of a list. A text gets the most similar text of the list as a hint. */
function notAllowed({ path, found, params }: Violation, value: unknown): ConfigProblem {
  const allowed = params['allowedValues'] as readonly unknown[];
  const texts = allowed.filter((each) => typeof each === 'string');
  return {
    path,
    message: 'The value is not one of the allowed values.',
    expected: `one of ${list(allowed)}`,
    found,
    hint: typeof value === 'string' ? didYouMean(value, texts) : undefined,
  };
}

/** Names the object with a wrong key in a message; empty for the configuration itself. */
function inObject(path: Path): string {
  const location = formatPath(path);
  return location === '' ? '' : ` in ${location}`;
}

function describeExpected(parent: Readonly<Record<string, unknown>>, key: string): string {
  const schema = isObject(parent['properties']) ? parent['properties'][key] : undefined;
  if (!isObject(schema)) return 'a value';
  if (Array.isArray(schema['enum'])) return `one of ${list(schema['enum'])}`;
  return schema['type'] === undefined ? 'a value' : expectedType(schema['type']);
}

/**
 * Fills the defaults of `schema` into `config` in place and returns all problems. Problems of values inside an object
 * or list replace the general problem that the object or list matches none of its allowed forms.
 */
export function validateAgainst(schema: JsonSchema, config: unknown): readonly ConfigProblem[] {
  const validate = compileSchema(schema);
  if (validate(config)) return [];
  const problems = (validate.errors ?? []).flatMap((error) => explain(error) ?? []);
  return withoutRepetition(
    problems.filter((problem) => valueAt(config, problem.path.slice(0, -1)) !== undefined || problem.path.length <= 1),
  );
}

/**
 * Removes repeated problems. Also removes general problems ("does not match any of the allowed forms") if there is a
 * more specific one for the same value or a value inside it.
 */
function withoutRepetition(problems: readonly ConfigProblem[]): readonly ConfigProblem[] {
  const isGeneral = ({ message }: ConfigProblem) => Object.values(alternativeMessages).includes(message);
  const seen = new Set<string>();
  return problems.filter((problem) => {
    const path = formatPath(problem.path);
    if (isGeneral(problem) && problems.some((other) => !isGeneral(other) && formatPath(other.path).startsWith(path)))
      return false;
    const key = `${path} ${problem.message} ${problem.expected ?? ''}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
