import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeParseException;
import java.util.Map;
import java.util.UUID;
import javax.security.auth.callback.CallbackHandler;
import javax.security.sasl.SaslServer;
import javax.security.sasl.SaslServerFactory;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import software.amazon.awssdk.http.SdkHttpMethod;
import software.amazon.awssdk.http.SdkHttpRequest;
import software.amazon.awssdk.http.auth.aws.signer.AwsV4FamilyHttpSigner;
import software.amazon.awssdk.http.auth.aws.signer.AwsV4HttpSigner;
import software.amazon.awssdk.http.auth.spi.signer.HttpSigner;
import software.amazon.awssdk.identity.spi.AwsCredentialsIdentity;
import software.amazon.awssdk.identity.spi.AwsSessionCredentialsIdentity;

/** The server's side of AWS_MSK_IAM. Signatures are computed again by AWS's SDK: our own signer is not held against itself. */
public class MskSaslServer implements SaslServer {
    private static final String VERSION = "2020_10_22";
    private static final String REGION = "eu-west-1";
    private static final String SERVICE = "kafka-cluster";
    private static final String ACTION = "kafka-cluster:Connect";
    /** The second stands for a role: its credentials come with a token. */
    private static final Map<String, AwsCredentialsIdentity> KEYS = Map.of(
            "AKIDHEARTBEAT", AwsCredentialsIdentity.create("AKIDHEARTBEAT", "msk-secret"),
            "ASIAHEARTBEAT", AwsSessionCredentialsIdentity.create("ASIAHEARTBEAT", "msk-role-secret", "msk-role-token"));
    private static final DateTimeFormatter DATE = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);
    private static final ObjectMapper JSON = new ObjectMapper();

    private String name;

    /** What {@link MskLoginModule} registers. */
    public static class Factory implements SaslServerFactory {
        @Override
        public SaslServer createSaslServer(String mechanism, String protocol, String server, Map<String, ?> properties, CallbackHandler handler) {
            return new MskSaslServer();
        }

        @Override
        public String[] getMechanismNames(Map<String, ?> properties) {
            return new String[] {"AWS_MSK_IAM"};
        }
    }

    @Override
    public byte[] evaluateResponse(byte[] response) {
        JsonNode payload;
        try {
            payload = JSON.readTree(response);
        } catch (IOException e) {
            throw new SaslAuthenticationException("the payload is not JSON: " + e.getMessage());
        }
        name = authenticate(payload, Instant.now());
        return JSON.createObjectNode().put("version", VERSION).put("request-id", UUID.randomUUID().toString()).toString()
                .getBytes(StandardCharsets.UTF_8);
    }

    /** The access key that signed the payload. */
    private static String authenticate(JsonNode payload, Instant now) {
        expect(payload, "version", VERSION);
        expect(payload, "action", ACTION);
        expect(payload, "x-amz-algorithm", "AWS4-HMAC-SHA256");
        expect(payload, "x-amz-signedheaders", "host");
        text(payload, "user-agent");
        String host = text(payload, "host");
        check(host.equals("127.0.0.1") || host.equals("localhost"), "host is " + host + ", this is not it");

        String stamp = text(payload, "x-amz-date");
        Instant signed;
        long seconds;
        try {
            signed = Instant.from(DATE.parse(stamp));
            seconds = Long.parseLong(text(payload, "x-amz-expires"));
        } catch (DateTimeParseException | NumberFormatException e) {
            throw new SaslAuthenticationException("x-amz-date or x-amz-expires: " + e.getMessage());
        }
        check(seconds > 0 && seconds <= 900, "x-amz-expires is " + seconds);
        check(!signed.isAfter(now.plusSeconds(300)), "signed in the future, at " + stamp);
        check(signed.plusSeconds(seconds).isAfter(now), "expired: signed at " + stamp + " for " + seconds + " s");

        String[] credential = text(payload, "x-amz-credential").split("/", 2);
        AwsCredentialsIdentity identity = KEYS.get(credential[0]);
        check(identity != null, "unknown access key " + credential[0]);
        String scope = stamp.substring(0, 8) + "/" + REGION + "/" + SERVICE + "/aws4_request";
        check(credential.length == 2 && credential[1].equals(scope), "the scope of x-amz-credential is not " + scope);
        if (identity instanceof AwsSessionCredentialsIdentity session) {
            expect(payload, "x-amz-security-token", session.sessionToken());
        } else {
            check(!payload.has("x-amz-security-token"), "a token with a key that has none");
        }

        SdkHttpRequest request = SdkHttpRequest.builder().method(SdkHttpMethod.GET).protocol("https").host(host).encodedPath("/")
                .putRawQueryParameter("Action", ACTION).build();
        String signature = AwsV4HttpSigner.create().sign(r -> r.identity(identity).request(request)
                .putProperty(AwsV4FamilyHttpSigner.SERVICE_SIGNING_NAME, SERVICE)
                .putProperty(AwsV4HttpSigner.REGION_NAME, REGION)
                .putProperty(AwsV4FamilyHttpSigner.AUTH_LOCATION, AwsV4FamilyHttpSigner.AuthLocation.QUERY_STRING)
                .putProperty(AwsV4FamilyHttpSigner.EXPIRATION_DURATION, Duration.ofSeconds(seconds))
                .putProperty(HttpSigner.SIGNING_CLOCK, Clock.fixed(signed, ZoneOffset.UTC)))
                .request().firstMatchingRawQueryParameter("X-Amz-Signature").orElseThrow();
        check(MessageDigest.isEqual(signature.getBytes(StandardCharsets.UTF_8),
                text(payload, "x-amz-signature").getBytes(StandardCharsets.UTF_8)), "the signature is wrong");
        return credential[0];
    }

    private static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new SaslAuthenticationException("AWS_MSK_IAM: " + otherwise);
        }
    }

    private static String text(JsonNode payload, String key) {
        JsonNode value = payload.get(key);
        check(value != null && value.isTextual() && !value.textValue().isEmpty(), key + " is missing or no text");
        return value.textValue();
    }

    private static void expect(JsonNode payload, String key, String value) {
        check(text(payload, key).equals(value), key + " is not " + value);
    }

    @Override
    public String getMechanismName() {
        return "AWS_MSK_IAM";
    }

    @Override
    public boolean isComplete() {
        return name != null;
    }

    @Override
    public String getAuthorizationID() {
        return name;
    }

    @Override
    public byte[] unwrap(byte[] incoming, int offset, int length) {
        throw new IllegalStateException("there is no layer");
    }

    @Override
    public byte[] wrap(byte[] outgoing, int offset, int length) {
        throw new IllegalStateException("there is no layer");
    }

    @Override
    public Object getNegotiatedProperty(String key) {
        return null;
    }

    @Override
    public void dispose() {}
}
