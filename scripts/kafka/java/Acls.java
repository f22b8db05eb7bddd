import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** Acls ADDRESS NAME...: what scripts/kafka/secure says these users may do. One JVM, where kafka-acls would take several. */
public class Acls {
    public static void main(String[] args) throws Exception {
        List<AclBinding> all = new ArrayList<>();
        for (int i = 1; i < args.length; i++) {
            all.add(acl(args[i], ResourceType.TOPIC, "hb-", AclPermissionType.ALLOW, AclOperation.ALL));
            all.add(acl(args[i], ResourceType.GROUP, "hb-", AclPermissionType.ALLOW, AclOperation.ALL));
            all.add(acl(args[i], ResourceType.TOPIC, "hb-denied-", AclPermissionType.DENY, AclOperation.ALL));
            for (AclOperation operation : List.of(AclOperation.READ, AclOperation.WRITE, AclOperation.DELETE,
                    AclOperation.ALTER, AclOperation.ALTER_CONFIGS)) {
                all.add(acl(args[i], ResourceType.TOPIC, "hb-noread-", AclPermissionType.DENY, operation));
            }
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            admin.createAcls(all).all().get();
            // The controller has them; the broker follows.
            while (admin.describeAcls(AclBindingFilter.ANY).values().get().size() < all.size()) {
                Thread.sleep(20);
            }
        }
    }

    private static AclBinding acl(String name, ResourceType type, String prefix, AclPermissionType permission, AclOperation operation) {
        return new AclBinding(new ResourcePattern(type, prefix, PatternType.PREFIXED),
                new AccessControlEntry("User:" + name, "*", operation, permission));
    }
}
