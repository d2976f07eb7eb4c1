import { encodeName } from './name.ts';
import { RecordClass } from './query.ts';

/** As it stands in a message. @param name plain text, without the final dot */
export function questionOf(name: string, type: number): Buffer {
  return Buffer.concat([encodeName(name), Buffer.from([type >> 8, type & 255, 0, RecordClass.IN])]);
}
