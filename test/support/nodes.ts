import { type ImageRef, parseImageRef } from '#src/domain/image-ref.ts';
import { type Node, type NodeName, type NodeRecord, parseNodeName } from '#src/domain/node.ts';
import type { NodeSettings } from '#src/domain/node-settings.ts';
import { type PublicKey, parsePublicKey } from '#src/domain/public-key.ts';
import { withInherited } from '#src/store/node-rows.ts';

type Facts = Partial<Omit<NodeRecord, 'name'>> & Pick<NodeSettings, 'image' | 'overlay' | 'overlayBytes' | 'dataBytes'>;

/** Of nobody: its private half was never kept. */
export const operatorKey: PublicKey = parsePublicKey(
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDcppXlGIxNFFbYsaVXrR5ewlT5tC8PWm2VDu04ETiGU operator',
);

const debian: ImageRef = parseImageRef('debian-13');

/** A node of the registry; what is said about its image and disks is said for it alone. */
export function nodeRecord(name: string, facts: Facts = {}): NodeRecord {
  const { image = debian, overlay = 'persistent', overlayBytes, dataBytes, own, ...rest } = facts;
  return {
    name: parseNodeName(name),
    macs: [],
    reimage: false,
    ...rest,
    own: {
      image,
      overlay,
      ...(overlayBytes === undefined ? {} : { overlayBytes }),
      ...(dataBytes === undefined ? {} : { dataBytes }),
      ...own,
    },
  };
}

/** With all that holds for it, which is what it says itself. */
export function testNode(name: NodeName | string, facts: Facts = {}): Node {
  return withInherited(nodeRecord(name, facts), { groups: [], everybody: {}, defaultImage: debian });
}
