// A plugin of TypeDoc. Types that are derived from a JSON Schema (`FromSchema`) have no comments of their own: each of
// their properties gets the `description` of the schema as its comment.
import { Comment, Converter, ReflectionKind } from 'typedoc';
import ts from 'typescript';

/** Returns the text of a string literal, or of several that are joined by `+`; undefined for other expressions. */
function textOf(node) {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.PlusToken) return undefined;
  const [left, right] = [textOf(node.left), textOf(node.right)];
  return left === undefined || right === undefined ? undefined : left + right;
}

/** Returns the description in the schema of a property: of an object literal, or of the literal that a call returns. */
function descriptionOf(schema, checker) {
  if (ts.isObjectLiteralExpression(schema)) {
    const property = schema.properties.find((each) => each.name?.getText() === 'description');
    return property !== undefined && ts.isPropertyAssignment(property) ? textOf(property.initializer) : undefined;
  }
  const description = checker.getTypeAtLocation(schema).getProperty('description');
  if (description === undefined) return undefined;
  const type = checker.getTypeOfSymbolAtLocation(description, schema);
  return type.isStringLiteral() ? type.value : undefined;
}

/** Registers the plugin. */
export function load(app) {
  app.converter.on(Converter.EVENT_CREATE_DECLARATION, (context, reflection) => {
    if (reflection.kind !== ReflectionKind.Property || reflection.hasComment()) return;
    const symbol = context.getSymbolFromReflection(reflection);
    for (const declaration of symbol?.declarations ?? []) {
      if (!ts.isPropertyAssignment(declaration)) continue;
      delete reflection.defaultValue; // The expression of the schema, not a value.
      const description = descriptionOf(declaration.initializer, context.checker);
      if (description !== undefined) reflection.comment = new Comment([{ kind: 'text', text: description }]);
    }
  });
}
