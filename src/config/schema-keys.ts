import { z } from 'zod';

/** The keys that a schema knows at a place of a value, for "did you mean". */
export function keysAt(schema: z.core.$ZodType, path: readonly PropertyKey[], value: unknown): string[] {
  const [key, ...rest] = path;
  const inner = typeof value === 'object' && value !== null && key !== undefined ? Reflect.get(value, key) : undefined;
  return shapesOf(schema).flatMap((shape) => {
    if (key === undefined) {
      return shape instanceof z.ZodObject ? Object.keys(shape.shape) : [];
    }
    const next =
      shape instanceof z.ZodObject
        ? (shape.shape as Record<string, z.core.$ZodType>)[String(key)]
        : shape instanceof z.ZodRecord
          ? shape.valueType
          : shape instanceof z.ZodArray
            ? shape.element
            : undefined;
    return next ? keysAt(next, rest, inner) : [];
  });
}

/** What is left when everything is taken off that a value passes on its way. */
function shapesOf(schema: z.core.$ZodType): z.core.$ZodType[] {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault) {
    return shapesOf(schema.unwrap());
  }
  if (schema instanceof z.ZodPipe) {
    return shapesOf(schema.in instanceof z.ZodTransform ? schema.out : schema.in);
  }
  return schema instanceof z.ZodUnion ? schema.options.flatMap(shapesOf) : [schema];
}
