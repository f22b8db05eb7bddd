import org.apache.kafka.common.security.auth.AuthenticationContext;
import org.apache.kafka.common.security.auth.KafkaPrincipal;
import org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder;

/** Who comes by the listeners with this builder is User:admin: others without a name, by TLS for one, must not be. */
public class AdminPrincipal extends DefaultKafkaPrincipalBuilder {
    public AdminPrincipal() {
        super(null, null);
    }

    @Override
    public KafkaPrincipal build(AuthenticationContext context) {
        return new KafkaPrincipal(KafkaPrincipal.USER_TYPE, "admin");
    }
}
