import java.security.Provider;
import java.security.Security;
import java.util.Map;
import javax.security.auth.Subject;
import javax.security.auth.callback.CallbackHandler;
import javax.security.auth.spi.LoginModule;

/** Makes the SASL mechanism AWS_MSK_IAM known to the broker whose configuration names it, as Kafka's own modules do for theirs. */
public class MskLoginModule implements LoginModule {
    static {
        Security.addProvider(new Provider("heartbeat-msk", "1", "AWS_MSK_IAM for tests") {
            {
                put("SaslServerFactory.AWS_MSK_IAM", MskSaslServer.Factory.class.getName());
            }
        });
    }

    @Override
    public void initialize(Subject subject, CallbackHandler handler, Map<String, ?> shared, Map<String, ?> options) {}

    @Override
    public boolean login() {
        return true;
    }

    @Override
    public boolean commit() {
        return true;
    }

    @Override
    public boolean abort() {
        return false;
    }

    @Override
    public boolean logout() {
        return true;
    }
}
